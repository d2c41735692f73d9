"""Whole images of a manifest of media: their own pixels, in the rows and columns that crops of faces have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from tests.media.make import clip  # noqa: E402
from unmask.data.manifest import FaceRow, Manifest, Row, write  # noqa: E402
from unmask.data.pictures import FRAMES, PictureSet, TileSet, arrow_schema, media_rows, rows_of  # noqa: E402
from unmask.data.transforms import build  # noqa: E402
from unmask.media import open_media  # noqa: E402
from unmask.tasks.loading import batches  # noqa: E402
from unmask.types import Frame, InputSpec, Pixels, UnmaskError  # noqa: E402

SPEC = InputSpec(size=32, margin=0, tiles=4)


def row(name: str, label: int, kind: str = "image", **more: Any) -> Row:
    method = {"method": "gan"} if label else {}
    item = f"d/{name}"
    return Row.model_validate(
        {"dataset": "d", "item_id": item, "relpath": name, "media_type": kind, "label": label, "group_id": item}
        | method
        | more
    )


def noise(seed: int, height: int = 50, width: int = 90) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two images of which one is made from the other, a video, and a row without a file."""
    for name, seed in (("a.png", 1), ("b.png", 2)):
        Image.fromarray(noise(seed)).save(tmp_path / name)
    (tmp_path / "c.mp4").write_bytes(clip(count=40))
    rows = [
        row("a.png", 0, pair_key="d/a.png"),
        row("b.png", 1, pair_key="d/a.png", group_id="d/a.png"),
        row("c.mp4", 1, "video"),
        row("lost", 1, relpath="", item_id="d/lost"),
    ]
    return write(tmp_path / "media.parquet", rows, tmp_path).path


def test_a_video_has_rows_of_its_own_and_an_image_one(manifest: Path) -> None:
    table = rows_of(Manifest(manifest))
    assert table.column_names == list(arrow_schema(FaceRow).names)
    assert table["item_id"].to_pylist() == ["d/a.png", "d/b.png", *(f"d/c.mp4#{n}" for n in range(FRAMES)), "d/lost"]
    assert table["media_id"].to_pylist() == ["d/a.png", "d/b.png", *["d/c.mp4"] * FRAMES, "d/lost"]
    assert table["frame"].to_pylist() == [0, 0, *range(FRAMES), 0]
    assert table["reason"].to_pylist() == [""] * (2 + FRAMES) + ["no file"]
    assert table["margin"].null_count == len(table)
    assert rows_of(Manifest(manifest), ["label", "frame"]).column_names == ["label", "frame"]


def test_pixels_are_those_of_the_file_and_of_the_frames_in_the_middles_of_eight_parts(manifest: Path) -> None:
    found = PictureSet(manifest, SPEC)
    assert (len(found), found.left_out) == (2 + FRAMES, 1)
    assert np.array_equal(found.stored(1), noise(2))
    frames = [f.image for f in open_media(manifest.parent / "c.mp4").frames(FRAMES) if isinstance(f, Frame)]
    assert len(frames) == FRAMES
    for i, frame in enumerate(frames):
        assert np.array_equal(found.stored(2 + i), frame)


def test_a_forgery_belongs_to_its_original(manifest: Path) -> None:
    found = PictureSet(manifest, SPEC)
    assert found.pair.tolist() == [0, 0, *[-1] * FRAMES]
    assert found.methods[found[1].method] == "gan"
    assert found.label.tolist() == [0, 1, *[1] * FRAMES]


def test_all_tiles_are_looked_at_to_judge_and_a_random_one_to_learn(manifest: Path) -> None:
    image, found = noise(1), PictureSet(manifest, SPEC)
    assert [np.array_equal(t, image[8:40, x : x + 32]) for t, x in zip(found.inputs(0), (0, 56), strict=True)] == [1, 1]
    assert np.array_equal(found[0].image, image[8:40, 24:56])  # the middle, 29 down to a multiple of 8
    drawn = PictureSet(manifest, SPEC, random=True)
    places = {tuple(_at(image, drawn[0, seed].image)) for seed in range(40)}
    assert places == {(y, x) for y in (0, 8, 16) for x in range(0, 57, 8)} or len(places) > 15
    assert all(y % 8 == 0 and x % 8 == 0 for y, x in places)
    assert np.array_equal(drawn.untransformed()[0].image, found[0].image)
    assert np.array_equal(drawn[0, 5].image, drawn[0, 5].image)


def test_the_transform_acts_before_the_tile_is_cut_and_views_show_the_same_place(manifest: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def darker(image: Pixels, rng: np.random.Generator) -> Pixels:
        seen.append(image.shape)
        return image // 2

    found = PictureSet(manifest, SPEC, transform=darker, views=[lambda image, rng: image // 2], random=True)
    item = found[0, 3]
    assert seen == [(50, 64, 3)]  # twice the tile where the image has it
    assert np.array_equal(item.views[0], item.image // 2)
    y, x = _at(noise(1) // 2, item.image)
    assert np.array_equal(item.image, noise(1)[y : y + 32, x : x + 32] // 2)
    assert found.inputs(0).max() > 200  # nothing of it where images are judged


def test_batches_come_of_it_and_all_tiles_filled_up(manifest: Path) -> None:
    found = PictureSet(manifest, SPEC, transform=build("gend"), random=True)
    (batch,) = batches(found, [[(0, 1), (1, 2), (2, 3)]])
    assert batch.image.shape == (3, 3, 32, 32)
    tiles, count = TileSet(found)[0]
    assert (tiles.shape, count) == ((4, 32, 32, 3), 2)
    assert not tiles[2:].any()


def test_small_weights_without_tiles_see_the_image_made_small(manifest: Path) -> None:
    found = PictureSet(manifest, InputSpec(size=16, margin=0))
    assert found[0].image.shape == (16, 16, 3)
    assert np.array_equal(found.inputs(0)[0], found[0].image)


def test_each_file_once_goes_on_into_a_manifest_of_its_own(manifest: Path) -> None:
    opened = Manifest(manifest)
    table = rows_of(opened)
    chosen = np.array([n in (1, 4, 5) for n in range(len(table))])
    part = media_rows(opened, table, np.array(["val"] * len(table)), chosen)
    assert part["item_id"].to_pylist() == ["d/b.png", "d/c.mp4"]
    assert part["split"].to_pylist() == ["val", "val"]
    assert part.column_names == list(opened.arrow_schema.names)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    rows = [row("x.png", 0), row("gone.png", 1), row("changed.png", 1, sha256="0" * 64), row("out", 0, relpath="../x")]
    Image.fromarray(noise(1)).save(tmp_path / "changed.png")
    found = PictureSet(write(tmp_path / "m.parquet", rows, tmp_path).path, SPEC)
    for i, why in enumerate((r"x\.png.*unreadable", "gone.png.*missing file", "changed", "not a path below the root")):
        with pytest.raises(UnmaskError, match=why):
            found[i]


def _at(image: Pixels, tile: Pixels) -> tuple[int, int]:
    """Where a tile was cut out."""
    side = tile.shape[0]
    for y in range(image.shape[0] - side + 1):
        for x in range(image.shape[1] - side + 1):
            if image[y, x, 0] == tile[0, 0, 0] and np.array_equal(image[y : y + side, x : x + side], tile):
                return y, x
    raise AssertionError("no such tile")
