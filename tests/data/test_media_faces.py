"""One media file cut: which frames, whose face, where it lands, and a reason wherever there is no crop."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow")

from tests.media.make import clip as lively
from tests.scanning.make import clip
from unmask.bundles import load
from unmask.data.fitting import fit
from unmask.data.manifest import FaceRow, Row
from unmask.data.media_faces import LOST, Options, again, covered, extract
from unmask.faces import TEMPLATES, FaceDetector, crop
from unmask.types import Pixels, UnmaskError

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FEW = Options(frames=4, size=96)


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    """(384, 384, 3): the head of Eileen Collins, NASA, public domain; her face is about 110 pixels wide."""
    return np.asarray(
        Image.open(SAMPLES / "portrait-real.jpg").convert("RGB").crop((80, 0, 400, 320)).resize((384, 384))
    )


def medium(relpath: str, **changes: Any) -> Row:
    values = {"dataset": "d", "item_id": f"d/{relpath}", "relpath": relpath, "group_id": "g", "label": 1}
    return Row.model_validate(values | changes)


def cut(root: Path, row: Row | str, options: Options = FEW) -> list[FaceRow]:
    """The rows of one file; every crop that they name is there, of the size that they say, and no other file is."""
    out = root / "out"
    rows = extract(medium(row) if isinstance(row, str) else row, root, out, options)
    assert len({r.item_id for r in rows}) == len(rows)
    for r in rows:
        assert bool(r.reason) == (r.relpath == "") == (r.box is None) == (r.matrix is None)
        if not r.reason:
            assert picture(out, r.relpath).shape == (options.size, options.size, 3)
            assert r.bytes == (out / r.relpath).stat().st_size
    assert not any(path.is_file() for path in (out / ".work").rglob("*"))
    return rows


def picture(out: Path, relpath: str) -> Pixels:
    return np.asarray(Image.open(out / relpath))


def two_faces(portrait: Pixels, small: int = 150) -> Pixels:
    """The portrait to the left, and small and mirrored to the right."""
    scene = np.full((384, 640, 3), 120, np.uint8)
    scene[:, :384] = portrait
    scene[100 : 100 + small, 430 : 430 + small] = np.asarray(Image.fromarray(portrait[:, ::-1]).resize((small, small)))
    return scene


def small_mask() -> Pixels:
    """The inner part of the small face of `two_faces`."""
    mask = np.zeros((384, 640, 3), np.uint8)
    mask[138:178, 488:524] = 255
    return mask


def save(image: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


# --- which frames ----------------------------------------------------------------------------------------------------


def test_frames_are_spread_over_the_whole_clip(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(lively(count=40))
    rows = cut(tmp_path, "a.mp4", Options(frames=4))
    assert [r.frame for r in rows] == [5, 15, 25, 35]  # never the first four, and never a gap for want of a face
    assert [r.t for r in rows] == pytest.approx([0.2, 0.6, 1.0, 1.4])
    assert [r.reason for r in rows] == ["no face"] * 4


def test_frames_are_even_in_time_where_their_rate_is_not(tmp_path: Path) -> None:
    stamps = [*range(0, 1000, 20), *range(1000, 5000, 400)]  # 50 frames in the first second, 10 in the next four
    (tmp_path / "a.mp4").write_bytes(lively(count=60, stamps=stamps))
    rows = cut(tmp_path, "a.mp4", Options(frames=5))
    # 4.6 s and a last frame, in five parts: their middles at 0.46, 1.39, 2.31, 3.23 and 4.16 s.
    assert [r.frame for r in rows] == [23, 50, 53, 55, 57]
    assert [stamps[r.frame] / 1000 for r in rows] == pytest.approx([r.t for r in rows])


def test_a_folder_of_frames_is_a_medium(tmp_path: Path, portrait: Pixels) -> None:
    for i in range(12):
        save(np.roll(portrait, 2 * i, axis=1), tmp_path / "clip" / f"{i:04d}.png")
    (tmp_path / "clip" / "0007.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (tmp_path / "clip" / "notes.txt").write_text("no frame")
    rows = cut(tmp_path, medium("clip", media_type="frame_seq"), FEW)
    assert [(r.frame, r.reason.partition(":")[0]) for r in rows] == [(1, ""), (4, ""), (7, "not decoded"), (10, "")]
    assert np.subtract(rows[3].points, rows[0].points)[::2] == pytest.approx(18, abs=5)


# --- what gives no crop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relpath", "reason"),
    [
        ("nothing.mp4", "missing file"),
        ("../outside.png", "no path below the root of the data set"),
        ("/etc/hostname", "no path below the root of the data set"),
        ("", "no path below the root of the data set"),
        ("text.mp4", "unreadable: not an image or a video: this looks like text"),
        ("torn.png", "unreadable: "),
        ("empty", "unreadable: no images in this folder"),
        ("cup.jpg", "no face"),
    ],
)
def test_what_cannot_be_cut_is_one_row_with_its_reason(
    tmp_path: Path, portrait: Pixels, relpath: str, reason: str
) -> None:
    root = tmp_path / "root"
    save(portrait, tmp_path / "outside.png")
    save(portrait, root / "neighbour.png")
    (root / "text.mp4").write_text("to be delivered")
    (root / "torn.png").write_bytes((root / "neighbour.png").read_bytes()[:40])
    (root / "empty").mkdir()
    (root / "cup.jpg").write_bytes((SAMPLES / "no-face.jpg").read_bytes())
    (row,) = cut(root, medium(relpath, item_id="the id"))
    assert row.reason.startswith(reason)
    assert str(tmp_path) not in row.reason  # the same row on every machine
    assert (row.media_id, row.label, row.relpath, row.track) == ("the id", 1, "", None)


def test_a_file_that_changed_since_it_was_indexed_is_not_cut(tmp_path: Path, portrait: Pixels) -> None:
    save(portrait, tmp_path / "a.png")
    (row,) = cut(tmp_path, "a.png")
    content = row.extra["media_sha256"]
    assert cut(tmp_path, medium("a.png", sha256=content))[0].reason == ""
    assert cut(tmp_path, medium("a.png", sha256="0" * 64))[0].reason.startswith("changed: ")


def test_a_cut_off_clip_has_a_row_for_each_frame_that_was_asked_for(tmp_path: Path) -> None:
    whole = lively(count=40, mux={"movflags": "faststart"})
    (tmp_path / "whole.mp4").write_bytes(whole)
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    asked = [r.frame for r in cut(tmp_path, "whole.mp4", Options(frames=8))]
    rows = cut(tmp_path, "half.mp4", Options(frames=8))
    assert [r.frame for r in rows] == asked
    kinds = [r.reason.partition(":")[0] for r in rows]
    assert kinds[0] == "no face"
    assert kinds[-1] == "not decoded"


def test_an_unknown_template_is_an_error_not_a_row_without_a_face(tmp_path: Path, portrait: Pixels) -> None:
    save(portrait, tmp_path / "a.png")
    with pytest.raises(UnmaskError, match="known are arcface5, gend5"):
        extract(medium("a.png"), tmp_path, tmp_path / "out", FEW.model_copy(update={"template": "dlib81"}))


def test_a_folder_that_cannot_be_written_is_an_error_not_a_row(tmp_path: Path, portrait: Pixels) -> None:
    save(portrait, tmp_path / "a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UnmaskError, match="cannot write"):
        extract(medium("a.png"), tmp_path, tmp_path / "out", FEW)


# --- where it lands --------------------------------------------------------------------------------------------------


def mapped(row: FaceRow) -> np.ndarray[Any, Any]:
    """The five points (5, 2) in pixels of the crop."""
    points, m = np.reshape(row.points, (5, 2)), np.reshape(row.matrix, (2, 3))
    return np.asarray(points @ m[:, :2].T + m[:, 2])


def assert_on_template(row: FaceRow, options: Options, within: float = 0.06) -> None:
    target = options.size * (0.5 + (TEMPLATES[options.template] - 0.5) / options.margin)
    assert np.abs(mapped(row) - target).max() < within * options.size


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("margin", [1.0, 1.3, 2.0])
def test_points_land_on_the_template(tmp_path: Path, portrait: Pixels, template: str, margin: float) -> None:
    save(portrait, tmp_path / "a.png")
    options = Options(size=192, margin=margin, template=template)
    (row,) = cut(tmp_path, "a.png", options)
    assert_on_template(row, options)
    seen = picture(tmp_path / "out", row.relpath)
    face = max(FaceDetector.load().find(seen), key=lambda f: f.side)  # what is in the crop, not only what the row says
    assert np.abs(face.points - mapped(row)).max() < 0.05 * 192


def test_the_defaults_suffice_for_the_embedded_detector(tmp_path: Path, portrait: Pixels) -> None:
    save(portrait, tmp_path / "a.png")
    (row,) = cut(tmp_path, "a.png", Options())
    spec = load("embedded").card.input
    assert row.margin is not None
    taken = fit(picture(tmp_path / "out", row.relpath), spec, row.margin).astype(float)
    own = crop(portrait, max(FaceDetector.load().find(portrait, thorough=True), key=lambda f: f.side), spec).image
    assert np.abs(taken - own).mean() < 4  # its own crop, but for one more interpolation
    # Not by chance: a crop that is moved by three pixels differs more.
    assert np.abs(np.roll(taken, 3, axis=1) - own).mean() > 6


def test_points_move_with_a_mirrored_and_a_turned_picture(tmp_path: Path, portrait: Pixels) -> None:
    images = {"upright": portrait, "mirrored": portrait[:, ::-1], "turned": np.rot90(portrait, 1)}
    for name, image in images.items():
        save(np.ascontiguousarray(image), tmp_path / f"{name}.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right, which undoes np.rot90
    Image.fromarray(np.ascontiguousarray(images["turned"])).save(tmp_path / "tagged.png", exif=exif)
    rows = {name: cut(tmp_path, f"{name}.png")[0] for name in ("upright", "mirrored", "tagged")}
    here, mirrored = (np.reshape(rows[n].points, (5, 2)) for n in ("upright", "mirrored"))
    assert np.abs(mirrored[[1, 0, 2, 4, 3]] * (-1, 1) + (384, 0) - here).max() < 8  # left stays left in the image
    assert rows["tagged"].points == rows["upright"].points
    same = picture(tmp_path / "out", rows["tagged"].relpath) == picture(tmp_path / "out", rows["upright"].relpath)
    assert same.all()
    assert_on_template(rows["mirrored"], FEW)


def turned(source: Path, path: Path, degrees: float) -> None:
    """The same packets, with a display rotation."""
    with av.open(str(source)) as inner, av.open(str(path), "w") as outer:
        stream: Any = outer.add_stream_from_template(inner.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in inner.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                outer.mux(packet)


def test_a_clip_that_is_shown_turned_is_cut_as_it_is_shown(tmp_path: Path, portrait: Pixels) -> None:
    frames = [np.roll(portrait, 3 * i, axis=1) for i in range(6)]
    clip(frames, tmp_path / "upright.mp4")
    clip([np.ascontiguousarray(np.rot90(f, 1)) for f in frames], tmp_path / "lying.mp4")
    found = None
    for degrees in (90, -90):
        turned(tmp_path / "lying.mp4", tmp_path / "turned.mp4", degrees)
        rows = cut(tmp_path, "turned.mp4")
        found = rows if all(not r.reason for r in rows) else found
    assert found is not None
    for row, upright in zip(found, cut(tmp_path, "upright.mp4"), strict=True):
        assert np.abs(np.subtract(row.points, upright.points)).max() < 6
        assert_on_template(row, FEW)


# --- whose face ------------------------------------------------------------------------------------------------------


def test_the_largest_face_without_a_mask_and_the_masked_one_with_it(tmp_path: Path, portrait: Pixels) -> None:
    save(two_faces(portrait), tmp_path / "a.png")
    mask = small_mask()
    save(mask, tmp_path / "masks" / "a.png")
    row = medium("a.png", mask_relpath="masks/a.png")

    (largest,) = cut(tmp_path, row)
    assert largest.box is not None
    assert largest.box[2] < 384
    assert (largest.overlap, largest.mask_relpath) == (None, "")

    (masked,) = cut(tmp_path, row, FEW.model_copy(update={"mask": True}))
    assert masked.box is not None
    assert masked.box[0] > 430
    assert masked.overlap == pytest.approx(covered(masked.box, mask[..., 0] > 0))
    assert 0.3 < masked.overlap <= 1

    both = cut(tmp_path, row, FEW.model_copy(update={"mask": True, "people": "all"}))
    assert [(r.track, (r.overlap or 0) > 0) for r in both] == [(0, False), (1, True)]


def test_a_mask_that_merely_touches_a_large_face_does_not_choose_it(tmp_path: Path, portrait: Pixels) -> None:
    save(two_faces(portrait), tmp_path / "a.png")
    (large,) = cut(tmp_path, "a.png")
    assert large.box is not None
    x0, y0, x1, y1 = map(round, large.box)
    mask = small_mask()
    mask[y0:y1, x0 : x0 + (x1 - x0) // 6] = 255
    save(mask, tmp_path / "mask.png")
    assert (y1 - y0) * ((x1 - x0) // 6) > 40 * 36  # more pixels of the large face than of the small one
    (row,) = cut(tmp_path, medium("a.png", mask_relpath="mask.png"), FEW.model_copy(update={"mask": True}))
    assert row.box is not None
    assert row.box[0] > 430


def area_of(row: FaceRow) -> float:
    assert row.box is not None
    x0, y0, x1, y1 = row.box
    return (x1 - x0) * (y1 - y0)


def test_the_mask_is_warped_as_the_face_is(tmp_path: Path, portrait: Pixels) -> None:
    painted, mask = portrait.copy(), np.zeros_like(portrait)
    region = np.s_[110:170, 140:210]
    painted[region] = (0, 255, 0)
    mask[region] = 255
    save(portrait, tmp_path / "found.png")
    (found,) = cut(tmp_path, "found.png")  # the paint must not move the points
    save(painted, tmp_path / "a.png")
    save(mask, tmp_path / "mask.png")
    row = medium("a.png", mask_relpath="mask.png")
    extra = {"media_relpath": "a.png", "media_mask": "mask.png"}
    known = found.model_copy(update={"extra": extra, "media_id": "d/a", "overlap": 0.5})
    (cropped,) = again([known], tmp_path, tmp_path / "out", Options(size=160, mask=True))
    seen = picture(tmp_path / "out", cropped.relpath).astype(int)
    warped = picture(tmp_path / "out", cropped.mask_relpath)
    assert set(np.unique(warped)) == {0, 255}
    green = (seen[..., 1] > 180) & (seen[..., 0] < 90) & (seen[..., 2] < 90)
    both = (green & (warped > 0)).sum() / (green | (warped > 0)).sum()
    assert both > 0.93
    assert row.mask_relpath == cropped.extra["media_mask"]


def clips(folder: Path, scenes: Sequence[Pixels], masks: Sequence[Pixels]) -> Row:
    clip(list(scenes), folder / "a.mp4")
    clip(list(masks), folder / "mask.mp4")
    return medium("a.mp4", mask_relpath="mask.mp4")


def test_masks_of_a_clip_go_with_their_frames(tmp_path: Path, portrait: Pixels) -> None:
    scenes, masks = [], []
    for i in range(8):
        scenes.append(np.roll(two_faces(portrait), -4 * i, axis=1))
        masks.append(np.roll(small_mask(), -4 * i, axis=1))
    masked = FEW.model_copy(update={"mask": True})
    rows = cut(tmp_path, clips(tmp_path, scenes, masks), masked)
    assert [r.frame for r in rows] == [1, 3, 5, 7]
    assert all(r.box is not None and r.box[0] > 380 and (r.overlap or 0) > 0.3 for r in rows)
    first, last = (picture(tmp_path / "out", r.mask_relpath) > 0 for r in (rows[0], rows[-1]))
    assert (first & last).sum() / (first | last).sum() > 0.65  # both moved alike, by more than half of the mask

    rows = cut(tmp_path, clips(tmp_path, scenes, masks[:6]), masked)  # a mask video that ends too early
    assert [r.reason for r in rows] == ["", "", "", "mask: none for this frame"]
    assert all(r.box is not None and r.box[0] > 380 for r in rows[:3])


def test_one_mask_for_all_frames_and_a_folder_of_masks(tmp_path: Path, portrait: Pixels) -> None:
    save(small_mask(), tmp_path / "mask.png")
    for i in range(4):
        save(two_faces(portrait), tmp_path / f"a/{i}.png")
        save(small_mask(), tmp_path / f"masks/{i}.png")
    masked = FEW.model_copy(update={"mask": True})
    for mask in ("mask.png", "masks"):
        rows = cut(tmp_path, medium("a", media_type="frame_seq", mask_relpath=mask), masked)
        assert [(r.frame, round(r.overlap or 0, 1)) for r in rows] == [(i, 0.6) for i in range(4)]
    (tmp_path / "masks/3.png").unlink()  # nobody can tell which one is gone
    (row,) = cut(tmp_path, medium("a", media_type="frame_seq", mask_relpath="masks"), masked)
    assert row.reason == "mask: 3 mask images for 4 frames"


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (None, "mask: missing file"),
        (np.zeros((384, 640, 3), np.uint8), "no face under the mask"),
        (np.full((384, 384, 3), 255, np.uint8), "mask: 384 x 384 does not fit the frame's 640 x 384"),
    ],
)
def test_without_a_mask_that_says_so_nobody_is_taken_for_manipulated(
    tmp_path: Path, portrait: Pixels, mask: Pixels | None, reason: str
) -> None:
    save(two_faces(portrait), tmp_path / "a.png")
    if mask is not None:
        save(mask, tmp_path / "mask.png")
    (row,) = cut(tmp_path, medium("a.png", mask_relpath="mask.png"), FEW.model_copy(update={"mask": True}))
    assert row.reason == reason


def test_people_of_a_clip_keep_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes((SAMPLES / "clip-one-forged.mp4").read_bytes())
    everybody = cut(tmp_path, "a.mp4", FEW.model_copy(update={"people": "all"}))
    one = cut(tmp_path, "a.mp4")
    assert len(everybody) == 12
    assert len(one) == 4
    assert len({r.track for r in one}) == 1
    area = {t: sum(area_of(r) for r in everybody if r.track == t) for t in (0, 1, 2)}
    assert max(area, key=lambda t: area[t]) == one[0].track


def test_a_frame_without_the_chosen_person_says_so(tmp_path: Path, portrait: Pixels) -> None:
    nobody, other = np.full_like(two_faces(portrait), 120), two_faces(portrait)
    other[:, :384] = 120
    clip([two_faces(portrait)] * 4 + [nobody] * 2 + [other] * 2, tmp_path / "a.mp4")
    rows = cut(tmp_path, "a.mp4", FEW)
    assert [(r.frame, r.reason) for r in rows] == [(1, ""), (3, ""), (5, "no face"), (7, LOST)]


# --- once more -------------------------------------------------------------------------------------------------------


def test_another_margin_needs_no_second_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes((SAMPLES / "clip-one-forged.mp4").read_bytes())
    wide = FEW.model_copy(update={"margin": 1.6, "people": "all"})
    found = cut(tmp_path, "a.mp4", FEW.model_copy(update={"people": "all"}))
    fresh = extract(medium("a.mp4"), tmp_path, tmp_path / "fresh", wide)
    monkeypatch.setattr(FaceDetector, "find", None)
    rows = again(found, tmp_path, tmp_path / "again", wide)
    assert [r.model_dump() for r in rows] == [r.model_dump() for r in fresh]  # the crops' sha256 is among it
    assert {r.margin for r in rows} == {1.6}


def test_a_reason_stays_and_a_lost_file_gives_one(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(lively(count=40))
    rows = cut(tmp_path, "a.mp4")
    assert again(rows, tmp_path, tmp_path / "again", FEW) == rows
    (tmp_path / "b.mp4").write_bytes((SAMPLES / "clip-one-forged.mp4").read_bytes())
    rows = cut(tmp_path, "b.mp4")
    (tmp_path / "b.mp4").unlink()
    lost = again(rows, tmp_path, tmp_path / "again", FEW)
    assert [(r.item_id, r.reason) for r in lost] == [(r.item_id, "missing file") for r in rows]


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(extract)) is extract
    assert pickle.loads(pickle.dumps(FEW)) == FEW
    (tmp_path / "a.mp4").write_bytes((SAMPLES / "clip-one-forged.mp4").read_bytes())
    rows = cut(tmp_path, "a.mp4")
    assert pickle.loads(pickle.dumps(rows)) == rows


def test_an_id_never_becomes_a_path(tmp_path: Path, portrait: Pixels) -> None:
    save(portrait, tmp_path / "a.png")
    seen = set()
    for name in ("../../x", "/etc/passwd", "a\nb", "é" * 300, "x", "x."):
        (row,) = cut(tmp_path, medium("a.png", item_id=name))
        assert set(row.relpath) <= set("0123456789abcdefghijklmnopqrstuvwxyz-./")
        assert ".." not in row.relpath
        seen.add(row.relpath)
    assert len(seen) == 6
