"""Crops of a manifest as batches: each row in its place, unchanged, and what cannot be read is an error."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.data.crops import MARGIN, SIZE, clips, face, lay, picture  # noqa: E402
from unmask.data import samplers  # noqa: E402
from unmask.data.fitting import fit, read  # noqa: E402
from unmask.data.loader import FaceSet, partners  # noqa: E402
from unmask.data.manifest import Row, write  # noqa: E402
from unmask.data.transforms import build  # noqa: E402
from unmask.imageops.degradation import jpeg  # noqa: E402
from unmask.tasks.loading import batches  # noqa: E402
from unmask.types import InputSpec, Pixels, UnmaskError  # noqa: E402

SPEC = InputSpec(size=32, margin=1.0)


def test_an_item_is_its_crop_cut_to_the_detectors_input(tmp_path: Path) -> None:
    faces = FaceSet(lay(tmp_path, clips()), SPEC)
    assert len(faces) == 6 * 4 * 3
    for i in (0, 7, 71):
        item = faces[i]
        row = list(faces.manifest)[i]
        want = picture(row.relpath)[4:36, 4:36]  # 40 pixels of margin 1.25 hold 32 of margin 1
        np.testing.assert_array_equal(item.image, want)
        assert (item.label, item.at) == (row.label, i)
        assert faces.methods[item.method] == row.method
        assert faces.path(i) == tmp_path / row.relpath


def test_methods_of_forgeries_are_counted_from_0_whatever_real_rows_are_called(tmp_path: Path) -> None:
    rows = [
        face("a", 0, 0, method="camera"),
        face("b", 0, 1, method="swap"),
        face("c", 0, 0),
        face("d", 0, 1, method="act"),
    ]
    faces = FaceSet(lay(tmp_path, rows), SPEC)
    assert faces.methods == ("swap", "act", "camera", "")
    assert faces.method.tolist() == [2, 0, 3, 1]


def test_rows_without_a_crop_are_counted_and_a_mask_chooses_among_the_rest(tmp_path: Path) -> None:
    rows = clips(2, 2)
    rows[3] = face("p0", 10, 0, relpath="", reason="no face", size=None, margin=None, template="")
    path = lay(tmp_path, rows)
    faces = FaceSet(path, SPEC)
    assert (len(faces), faces.left_out) == (11, 1)
    assert faces.row.tolist() == [0, 1, 2, *range(4, 12)]
    some = FaceSet(path, SPEC, where=np.arange(12) % 3 == 0)
    assert some.row.tolist() == [0, 6, 9]
    assert some.left_out == 1
    assert (some[1].image == faces[5].image).all()
    with pytest.raises(UnmaskError, match="does not fit 12 rows"):
        FaceSet(path, SPEC, where=np.ones(3, np.bool_))


def test_batches_are_the_keys_in_order_for_any_number_of_workers(tmp_path: Path) -> None:
    def noisy(image: Pixels, rng: np.random.Generator) -> Pixels:
        return image ^ rng.integers(0, 256, image.shape, np.uint8)

    faces = FaceSet(lay(tmp_path, clips()), SPEC, transform=noisy)
    plan = samplers.paired(faces.label, faces.pair, 8, seed=3, epoch=1)
    alone, two = (list(batches(faces, plan.batches(), workers=w)) for w in (0, 2))
    assert len(alone) == len(two) == len(plan) == 12
    for a, b in zip(alone, two, strict=True):
        assert a.image.shape == (8, 3, 32, 32)
        assert a.image.dtype == torch.float32
        assert 0 <= a.image.min() < a.image.max() <= 1
        assert torch.equal(a.image, b.image)
        assert a.index is not None
        assert b.index is not None
        assert torch.equal(a.index, b.index)
        assert a.label.tolist() == faces.label[a.index].tolist()
        assert a.label.dtype == torch.int64
    index = alone[0].index
    assert index is not None
    raw = FaceSet(faces.manifest.path, SPEC)[int(index[0])]
    assert not np.array_equal((alone[0].image[0].permute(1, 2, 0) * 255).round().numpy(), raw.image)


def test_both_of_a_pair_are_drawn_alike_and_differ_between_epochs(tmp_path: Path) -> None:
    def draw(image: Pixels, rng: np.random.Generator) -> Pixels:
        return np.full_like(image, rng.integers(256))

    faces = FaceSet(lay(tmp_path, clips()), SPEC, transform=draw)
    seen = []
    for epoch in (0, 1):
        plan = samplers.paired(faces.label, faces.pair, 8, seed=0, epoch=epoch)
        values = [(b.image[:, 0, 0, 0] * 255).round().int() for b in batches(faces, plan.batches())]
        assert all(torch.equal(v[0::2], v[1::2]) for v in values)
        seen.append(torch.cat(values))
    assert len(seen[0].unique()) > 20
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_views_are_the_same_draw_at_other_qualities(tmp_path: Path, workers: int) -> None:
    def turned(image: Pixels, rng: np.random.Generator) -> Pixels:
        return np.ascontiguousarray(np.rot90(image, int(rng.integers(4))))

    path = lay(tmp_path, clips())
    worse = build([{"corruption": {"kind": "jpeg", "level": 5}}])
    faces = FaceSet(path, SPEC, transform=turned, views=(build("none"), worse))
    keys = list(samplers.by_class(faces.label, 8, 3, 1).batches())
    found = list(batches(faces, keys, workers=workers))
    without = list(batches(FaceSet(path, SPEC, transform=turned), keys))
    for one, other, places in zip(found, without, keys, strict=True):
        assert one.views is not None
        assert one.views.shape == (8, 2, 3, 32, 32)
        assert other.views is None
        assert torch.equal(one.image, other.image)  # what a crop is does not depend on its views
        assert torch.equal(one.views[:, 0], one.image)
        crop, draw = faces.path(places[0][0]), np.random.default_rng(places[0][1:])
        want = jpeg(turned(read(crop, ""), draw), 20)[4:36, 4:36]  # level 5 of jpeg
        np.testing.assert_array_equal((one.views[0, 1] * 255).round().byte().permute(1, 2, 0).numpy(), want)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_crop_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, workers: int) -> None:
    faces = FaceSet(lay(tmp_path, clips(2, 2)), SPEC)
    broken = faces.path(5)
    for bad in (broken.read_bytes()[:60], b"", b"no picture at all"):
        broken.write_bytes(bad)
        with pytest.raises(UnmaskError) as caught:
            list(batches(faces, [[0, 1], [4, 5]], workers=workers))
        assert str(broken) in str(caught.value)
        assert "\n" not in str(caught.value)
    broken.unlink()
    with pytest.raises(UnmaskError, match=broken.name):
        faces[5]


def test_crops_that_cannot_give_the_input_are_refused_at_once(tmp_path: Path) -> None:
    path = lay(tmp_path, clips(2, 2))
    with pytest.raises(UnmaskError, match=r"margin 1.25, but the detector wants gend5, 1.5"):
        FaceSet(path, InputSpec(size=32, margin=1.5))
    with pytest.raises(UnmaskError, match="gend5 template"):
        FaceSet(path, InputSpec(size=32, margin=1.0, template="arcface112"))
    with pytest.raises(UnmaskError, match="looks at whole images"):
        FaceSet(path, InputSpec(size=32, margin=0))
    media = write(tmp_path / "m.parquet", [Row(dataset="d", item_id="d/1", relpath="x", group_id="g")], tmp_path)
    with pytest.raises(UnmaskError, match="lists media, not faces"):
        FaceSet(media.path, SPEC)


def test_nothing_chosen_is_an_empty_set(tmp_path: Path) -> None:
    faces = FaceSet(lay(tmp_path, clips(2, 2)), SPEC, where=np.zeros(12, np.bool_))
    assert len(faces) == len(faces.pair) == faces.left_out == 0
    assert list(batches(faces, [])) == []


def test_pairs_are_found_among_the_rows_that_are_left(tmp_path: Path) -> None:
    rows = clips(3, 2)
    path = lay(tmp_path, rows)
    faces = FaceSet(path, SPEC)
    for i, real in enumerate(faces.pair.tolist()):
        assert (rows[real].label, rows[real].pair_key, rows[real].frame) == (0, rows[i].pair_key, rows[i].frame)
    later = FaceSet(path, SPEC, where=np.array([bool(r.label) or r.frame > 0 for r in rows]))
    for i, real in enumerate(later.pair.tolist()):
        assert rows[later.row[real]].frame == 10  # the other one was not chosen: the nearest that was
        assert rows[later.row[real]].pair_key == rows[later.row[i]].pair_key
    fakes = FaceSet(path, SPEC, where=np.array([bool(r.label) for r in rows]))
    assert (fakes.pair == -1).all()


def test_no_path_leads_out_of_its_root(tmp_path: Path) -> None:
    path = lay(tmp_path / "in", [face("a", 0, 0), face("b", 0, 0, relpath="b/../../a.png")])
    with pytest.raises(UnmaskError, match="below the root"):
        FaceSet(path, SPEC)[1]


def test_it_travels_to_another_process_without_its_open_file(tmp_path: Path) -> None:
    faces = FaceSet(lay(tmp_path, clips(2, 2)), SPEC)
    again = pickle.loads(pickle.dumps(faces))
    np.testing.assert_array_equal(again[3].image, faces[3].image)


def test_a_fake_finds_the_same_frame_of_its_source_else_the_nearest() -> None:
    rows = [
        (0, 5, 0), (0, 5, 10), (0, 5, 20),  # a real video of source 5
        (1, 5, 10), (1, 5, 14), (1, 5, 15), (1, 5, 16), (1, 5, 99),
        (1, 6, 10),  # its source has no real crop
        (0, 7, 3), (1, 7, 0),
        (1, -1, 0), (0, -1, 0),  # no source
        (0, 8, 1),  # nobody forged it
    ]  # fmt: skip
    label, source, frame = (np.array(c) for c in zip(*rows, strict=True))
    got = partners(label.astype(np.int8), source, frame)
    assert got.tolist() == [-1, 1, 2, 1, 1, 1, 2, 2, -1, 9, 9, -1, -1, -1]


def test_among_two_faces_of_a_frame_the_nearer_box_is_the_partner() -> None:
    label = np.array([0, 0, 1, 1, 1], np.int8)
    centre = np.array([[10, 10], [90, 10], [88, 12], [11, 9], [np.nan, np.nan]], np.float32)
    got = partners(label, np.zeros(5, int), np.zeros(5, int), centre)
    assert got.tolist() == [0, 1, 1, 0, 0]


def test_the_whole_crop_is_resized_where_sizes_differ() -> None:
    crop = picture("x", 50)
    assert fit(crop, InputSpec(size=50, margin=1.25), MARGIN).tobytes() == crop.tobytes()
    assert fit(crop, InputSpec(size=17, margin=1.1), MARGIN).shape == (17, 17, 3)
    assert SIZE * 1.0 / MARGIN == 32


def test_five_points_move_with_the_crop(tmp_path: Path) -> None:
    """From the frame through the crop's matrix, the augmentation and the cut: a mirrored, centred half of the crop."""
    five = (10.0, 10, 30, 10, 20, 20, 12, 30, 28, 30)
    matrix = (1.0, 0, 0, 0, 1, 0)  # the crop is the frame's corner
    known = face("a", 0, 0, points=five, matrix=matrix, identity="anna")
    data = lay(tmp_path, [known, face("b", 0, 1, identity=""), face("c", 0, 0, identity="anna")])
    spec = InputSpec(size=20, margin=MARGIN / 2)
    mirrored = build([{"flip": {"p": 1.0}}])
    faces = FaceSet(data, spec, transform=mirrored, points=True)
    # x -> 40 - x, then (p - 10) for the middle 20 of 40 pixels; left and right change names.
    assert faces[0].points.tolist() == [[0, 0], [20, 0], [10, 10], [2, 20], [18, 20]]
    assert np.isnan(faces[1].points).all()
    assert [faces[n].identity for n in range(3)] == [faces[2].identity, -1, faces[0].identity]
    assert faces.without_points == 2
    assert FaceSet(data, spec)[0].points.size == 0
