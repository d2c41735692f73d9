"""Files -> FileReports: what is seen, what is said of it, and what is never a number."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.media import Limits, open_media
from unmask.scanning import overlay, text
from unmask.scanning.ahead import ahead, within
from unmask.scanning.evidence import sentence
from unmask.scanning.options import Options, report_of
from unmask.scanning.pipeline import KEPT_FRAMES, Clock, Scanner
from unmask.types import Explanation, FileReport, Pixels, UnmaskError

from .make import EXPLANATION, SIZE, clip, save, tinted, write_bundle

RED = 0.2


@pytest.fixture(scope="module")
def scanner(options: Options) -> Scanner:
    return options.ready()


def only_numbers_where_a_detector_spoke(report: FileReport) -> None:
    for found in (report, *report.faces):
        numbers = (found.score, found.low, found.high)
        spoke = report.state in ("fake", "real", "uncertain") and (found != report or report.rests_on is not None)
        if spoke:
            assert all(v is not None and 0 <= v <= 1 for v in numbers)
            assert numbers[1] <= numbers[0] <= numbers[2]  # type: ignore[operator]
        else:
            assert numbers == (None, None, None)
    assert report.reasons
    every_reason_is_evidence(report)


def every_reason_is_evidence(report: FileReport) -> None:
    for one in report.evidence:
        assert one.text == sentence(one.kind, one.about, one.facts)
        assert one.about in {"file", "picture", *(f"face {face.track}" for face in report.faces)}
    assert set(report.reasons) <= {one.text for one in report.evidence}
    for face in report.faces:
        about = [one for one in report.evidence if one.about == f"face {face.track}"]
        assert set(face.reasons) <= {one.text for one in about}
        (number,) = [one for one in about if one.kind == "probability"]
        assert number.facts == {"score": face.score, "low": face.low, "high": face.high}
    assert FileReport.model_validate_json(report.model_dump_json()).evidence == report.evidence


def test_a_red_face_is_fake_and_a_pale_one_real(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    for red, state in ((0.0, "real"), (RED, "fake")):
        report = scanner.scan(save(tinted(portrait, red), tmp_path / f"{red}.png"))
        assert report.state == state
        only_numbers_where_a_detector_spoke(report)
        assert report.media is not None
        assert (report.media.width, report.media.frames_read) == (512, 1)
        (face,) = report.faces
        (sample,) = face.samples
        x0, y0, x1, y1 = sample.box
        assert 150 < x0 < x1 < 300  # where her face is
        assert 50 < y0 < y1 < 220
        assert len(sample.points) == 5
        assert sample.score == pytest.approx(report.score, abs=1e-4)


def test_bytes_path_and_string_are_the_same(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    path = save(portrait, tmp_path / "a.png")
    reports = [scanner.scan(source) for source in (path, str(path), path.read_bytes())]
    assert {report.score for report in reports} == {reports[0].score}
    assert len({report.sha256 for report in reports}) == 1


def test_two_people_one_forged(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    pair = np.concatenate([portrait, tinted(portrait, RED)], axis=1)
    report = scanner.scan(save(pair, tmp_path / "pair.png"))
    assert report.state == "fake"
    by_side = {face.samples[0].box[0] > 512: face.state for face in report.faces}
    assert by_side == {False: "real", True: "fake"}
    # If a file is forged one of its two faces is: odds are halved, the score is a little lower than the face's.
    assert report.score is not None
    assert max(face.score or 0 for face in report.faces) > report.score > 0.9
    only_numbers_where_a_detector_spoke(report)
    kinds = {(one.about, one.kind) for one in report.evidence}
    for face in report.faces:
        rare = "rare_real" if face.state == "fake" else "rare_forged"
        assert {(f"face {face.track}", kind) for kind in (rare, "holds", "size", "probability")} <= kinds
    assert {("file", "answers"), ("file", "rests_on"), ("file", "probability")} <= kinds


def test_no_face_is_a_state(scanner: Scanner, tmp_path: Path) -> None:
    report = scanner.scan(save(np.full((200, 300, 3), 90, np.uint8), tmp_path / "wall.png"))
    assert report.state == "not_applicable"
    assert report.reasons == ("no face was found in the image",)
    only_numbers_where_a_detector_spoke(report)
    grey = scanner.scan(clip([np.full((64, 64, 3), 90, np.uint8)] * 12, tmp_path / "grey.mp4"))
    assert grey.reasons == ("no face was found in 12 frames",)


def test_which_faces_were_looked_for_is_said(scanner: Scanner, tmp_path: Path) -> None:
    wide = scanner.scan(save(np.full((400, 3000, 3), 90, np.uint8), tmp_path / "wide.png"))
    assert wide.reasons == ("no face was found in the image",)  # 40 px would have been found
    hd = scanner.scan(clip([np.full((1080, 1920, 3), 90, np.uint8)] * 2, tmp_path / "hd.mp4"))
    assert hd.reasons == ("no face of about 48 px or more was found in 2 frames",)


def test_a_file_on_its_side_is_judged_and_doubted(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    upright = scanner.scan(save(tinted(portrait, RED), tmp_path / "a.png"))
    for quarters, how in ((1, "lies on its side"), (2, "stands on its head"), (3, "lies on its side")):
        turned = np.ascontiguousarray(np.rot90(tinted(portrait, RED), quarters))
        report = scanner.scan(save(turned, tmp_path / f"{quarters}.png"))
        assert report.state == "uncertain"
        assert report.score == pytest.approx(upright.score, abs=0.02)  # the crop is the same face, upright
        assert any(how in reason for reason in report.reasons)
        (sample,) = report.faces[0].samples
        matrix, points = np.array(sample.matrix), np.array(sample.points)
        eyes = points @ matrix[:, :2].T + matrix[:, 2]  # where the five points come to lie in the crop
        assert eyes[0, 0] < eyes[1, 0]
        assert eyes[:2, 1].max() < eyes[3:, 1].min()  # eyes above the mouth
    side = [np.ascontiguousarray(np.rot90(tinted(portrait, RED)[:320]))] * 10
    report = scanner.scan(clip(side, tmp_path / "side.mp4"))
    assert report.state == "uncertain"
    assert len(report.faces[0].samples) == 10
    assert any("turning it by 90°" in reason for reason in report.reasons)


def test_unreadable_is_a_state(scanner: Scanner, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not an image")
    for source in (tmp_path / "a.jpg", tmp_path / "absent.mp4", b""):
        report = scanner.scan(source)
        assert report.state == "failed"
        only_numbers_where_a_detector_spoke(report)
    strict = Scanner(scanner.scorer, scanner.face_detector, scanner.settings, Limits(pixels=100))
    big = strict.scan(save(np.zeros((20, 20, 3), np.uint8), tmp_path / "big.png"))
    assert big.state == "failed"
    assert "limit" in big.reasons[0]


def test_a_clip_is_followed(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    head = tinted(portrait, RED)[:320]  # the face detector takes the round patch on her suit for a face now and then
    frames = [np.roll(head, shift, axis=1) for shift in range(0, 48, 4)]
    report = scanner.scan(clip(frames, tmp_path / "c.mp4"))
    assert report.state == "fake"
    (face,) = report.faces
    assert [sample.frame for sample in face.samples] == list(range(12))
    assert face.samples[-1].t == pytest.approx(11 / 8)
    assert set(report.seconds_spent) >= {"open", "decode", "detect", "align", "score", "checks", "all"}


def test_two_frames_are_too_few(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    report = scanner.scan(clip([tinted(portrait, RED)] * 2, tmp_path / "short.mp4"))
    assert report.state == "uncertain"
    assert any("only 2 frames of the video" in reason for reason in report.reasons)
    assert report.score is not None
    assert report.score > 0.9


def test_a_brief_find_is_told_and_left_out(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    empty = np.full_like(portrait, 90)
    frames = [np.concatenate([portrait, tinted(portrait, RED) if i == 5 else empty], axis=1) for i in range(12)]
    report = scanner.scan(clip(frames, tmp_path / "brief.mp4"))
    assert report.state == "real"
    assert len(report.faces) == 1
    assert "1 brief detection ignored: seen in one frame only" in report.reasons


def test_a_short_passage_of_a_long_video_is_not_thrown_away(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    """One frame every 2 s: a forged face of 2 s is in one of them only."""
    sparse = replace(scanner, settings=scanner.settings.model_copy(update={"frames": 8}))
    pale, red, empty = portrait[::2, ::2], tinted(portrait, RED)[::2, ::2], np.full_like(portrait, 90)[::2, ::2]
    frames = [np.concatenate([pale, red if 48 <= i < 60 else empty], axis=1) for i in range(96)]
    report = sparse.scan(clip(frames, tmp_path / "long.mp4", fps=6))
    assert report.state == "fake"
    forged = next(face for face in report.faces if face.state == "fake")
    assert report.rests_on == forged.track
    assert len(forged.samples) == 9  # one of the eight, and eight within a second of it
    assert all(8 <= sample.t <= 10 for sample in forged.samples)
    assert report.media is not None
    assert (report.media.frames_read, report.media.interval) == (16, 2.0)
    assert any("one frame every 2 s was looked at" in reason for reason in report.reasons)
    only_numbers_where_a_detector_spoke(report)

    flash = [np.concatenate([pale, red if i == 53 else empty], axis=1) for i in range(96)]
    report = sparse.scan(clip(flash, tmp_path / "flash.mp4", fps=6))
    assert len(report.faces) == 1
    assert report.media is not None
    assert report.media.frames_read == 16
    assert "1 brief detection ignored: seen in one frame only" in report.reasons  # frames 0.2 s away do not have it


def test_a_tiny_face_is_not_judged(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    small = np.asarray(Image.fromarray(tinted(portrait, RED)).resize((120, 120)))
    report = scanner.scan(save(small, tmp_path / "small.png"))
    assert report.state == "uncertain"
    assert any(" px " in reason for reason in report.reasons)
    assert report.score is None
    assert not report.faces[0].counted
    only_numbers_where_a_detector_spoke(report)


def test_a_tiny_face_beside_another_has_no_part_in_the_number(
    scanner: Scanner, portrait: Pixels, tmp_path: Path
) -> None:
    """A small red image on the wall behind a pale face: its own number would be "over 99 %"."""
    wall = portrait.copy()
    wall[380:500, 380:500] = np.asarray(Image.fromarray(tinted(portrait, RED)).resize((120, 120)))
    report = scanner.scan(save(wall, tmp_path / "wall.png"))
    small, large = sorted(report.faces, key=lambda face: face.samples[0].box[2] - face.samples[0].box[0])
    assert (small.counted, large.counted) == (False, True)
    assert small.score is not None
    assert small.score > 0.9
    assert report.score == large.score
    assert report.rests_on == large.track
    assert report.state == "uncertain"


def test_an_unfamiliar_face_is_not_judged(options: Options, portrait: Pixels, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "far", ood_threshold=-1.0)
    report = options.model_copy(update={"detector": str(folder)}).ready().scan(save(portrait, tmp_path / "a.png"))
    assert report.state == "uncertain"
    assert any("unlike those this detector was trained on" in reason for reason in report.reasons)
    assert report.score is None
    assert report.faces[0].score is not None


def test_a_verdict_that_hangs_on_grain_is_taken_back(options: Options, portrait: Pixels, tmp_path: Path) -> None:
    grain = np.random.default_rng(0).normal(0, 40, portrait.shape)
    path = save(np.clip(portrait + grain, 0, 255).astype(np.uint8), tmp_path / "grain.png")
    grainy = options.model_copy(update={"detector": str(write_bundle(tmp_path / "b", sees="grain"))})
    unchecked = grainy.model_copy(update={"checks": False}).ready().scan(path)
    assert unchecked.state == "fake"
    report = grainy.ready().scan(path)
    assert report.state == "uncertain"
    assert report.score == unchecked.score
    assert any("changes under half size" in reason for reason in report.reasons)


def test_a_detector_for_whole_pictures_needs_no_face(options: Options, tmp_path: Path) -> None:
    wall = save(np.full((200, 300, 3), (200, 90, 60), np.uint8), tmp_path / "wall.png")
    whole = options.model_copy(update={"detector": str(write_bundle(tmp_path / "w", margin=0)), "faces": "/nowhere"})
    scanner = whole.ready()
    report = scanner.scan(wall)
    assert report.state == "fake"
    assert report.whole is not None
    assert (report.whole.state, report.face_state, report.faces, report.score) == ("fake", None, (), None)
    assert scanner.settings.whole_image
    moving = scanner.scan(clip([np.full((64, 64, 3), (60, 90, 200), np.uint8)] * 5, tmp_path / "w.mp4"))
    assert moving.state == "real"
    assert moving.whole is not None
    assert len(moving.whole.frames) == 5


def test_what_does_not_fit_is_refused(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="margin"):
        options.model_copy(update={"whole_image": True}).ready()
    with pytest.raises(UnmaskError, match="calibration"):
        options.model_copy(update={"detector": str(write_bundle(tmp_path / "u", calibrated=False))}).ready()
    with pytest.raises(UnmaskError, match="no detector bundle"):
        options.model_copy(update={"detector": str(tmp_path / "nothing")}).ready()


def test_pictures_are_made_when_asked_for(options: Options, portrait: Pixels, tmp_path: Path) -> None:
    path = save(tinted(portrait, RED), tmp_path / "a.png")
    (face,) = options.model_copy(update={"pictures": True}).ready().scan(path).faces
    for picture in (face.thumbnail, face.heat):
        assert picture is not None
        assert Image.open(io.BytesIO(picture)).size == (SIZE, SIZE)
    assert options.ready().scan(path).faces[0].thumbnail is None
    assert "thumbnail" not in face.model_dump()


@pytest.mark.parametrize("explanation", [None, EXPLANATION.model_copy(update={"localises": False})])
def test_a_map_that_points_no_better_than_the_middle_is_not_drawn(
    options: Options, portrait: Pixels, tmp_path: Path, explanation: Explanation | None
) -> None:
    bundle = write_bundle(tmp_path / "bundle", explanation=explanation)
    scanner = options.model_copy(update={"pictures": True, "detector": str(bundle)}).ready()
    (face,) = scanner.scan(save(tinted(portrait, RED), tmp_path / "a.png")).faces
    assert face.thumbnail is not None
    assert face.heat is None
    assert report_of(scanner).explanation == explanation


def test_a_sheet_shows_the_frames_with_their_boxes(options: Options, portrait: Pixels, tmp_path: Path) -> None:
    scanner = options.model_copy(update={"pictures": True}).ready()
    report = scanner.scan(save(portrait, tmp_path / "a.png"))
    assert report.sheet is not None
    image = np.asarray(Image.open(io.BytesIO(report.sheet)), np.float32)
    assert image.shape == (512, 512, 3)  # the image itself
    x0, y0, x1, y1 = (round(v) for v in report.faces[0].samples[0].box)
    middle = (y0 + y1) // 2
    assert np.abs(image[middle, x0 : x0 + 2] - (47, 127, 208)).max() < 60  # the edge of a box of "real"
    inside = image[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6] - portrait[y0 + 6 : y1 - 6, x0 + 6 : x1 - 6]
    assert np.abs(inside).mean() < 6  # the face itself is free

    frames = [np.roll(portrait[:320], shift, axis=1) for shift in range(0, 56, 4)]
    report = scanner.scan(clip(frames, tmp_path / "c.mp4"))
    assert report.sheet is not None
    assert Image.open(io.BytesIO(report.sheet)).size == (960, 4 * 200)  # twelve of fourteen frames in three columns
    assert options.ready().scan(tmp_path / "c.mp4").sheet is None


def test_memory_does_not_grow_with_the_frames(options: Options, tmp_path: Path, portrait: Pixels) -> None:
    small = np.asarray(Image.fromarray(portrait).resize((160, 160)))
    path = clip([small] * 150, tmp_path / "long.mp4", fps=25)
    scanner = options.model_copy(update={"frames": 150}).ready()
    gathered = scanner._gather(open_media(path), Clock())
    assert gathered.read == 150
    assert len(gathered.seen) == 150
    assert 40 <= sum(seen.image is not None for seen in gathered.seen.values()) <= KEPT_FRAMES


def test_a_report_reads_as_text(scanner: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    good, bad = save(tinted(portrait, RED), tmp_path / "a.png"), tmp_path / "b\x1b[31m.png"
    bad.write_text("")
    files = tuple(scanner.scan(path) for path in (good, bad))
    report = report_of(scanner).model_copy(update={"files": files})
    lines = str(report).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("Likely forged")
    assert "90 %" in text.number(files[0]).replace("\u00a0", " ") or "to" in text.number(files[0])
    assert "\x1b" not in str(report)
    assert lines[2].startswith("2 files: 1 likely forged")
    assert "not proof" in repr(report.model_copy(update={"files": files[:1]}))


# --- heat ------------------------------------------------------------------------------------------------------------


def test_the_overlay_reddens_what_the_map_marks() -> None:
    crop, heat = np.full((64, 64, 3), 255, np.uint8), np.zeros((8, 8), np.float32)
    heat[5:, 5:] = 2
    shown = overlay.overlay(crop, heat).astype(int)
    assert (shown[48, 48, 0] - shown[48, 48, 1]) > 60
    assert (shown[8, 8] == 255).all()


# --- ahead -----------------------------------------------------------------------------------------------------------


def test_ahead_keeps_order_and_errors() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("here")

    stream = ahead(items())
    assert [next(stream) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="here"):
        next(stream)


def test_within_gives_up_on_what_takes_too_long() -> None:
    held = threading.Event()
    assert within(5.0, lambda: 7) == 7
    assert within(0.05, held.wait) is None
    held.set()
    with pytest.raises(ZeroDivisionError):
        within(5.0, lambda: 1 // 0)


def test_ahead_stops_with_its_reader() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    before = set(threading.enumerate())  # a thread of another test may end meanwhile
    stream = ahead(items())
    next(stream)
    stream.close()
    assert len(made) < 10
    assert set(threading.enumerate()) <= before
