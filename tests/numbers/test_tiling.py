"""Where the tiles of an image lie, and that what a generator left behind reaches the network as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from unmask.base.predict import to_tensor
from unmask.detectors.npr import residual
from unmask.tiling import inputs, mirrored, places, pooled, reduced, tiles
from unmask.types import InputSpec, Pixels, UnmaskError

SPEC = InputSpec(size=32, margin=0, tiles=4)


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def doubled(height: int, width: int) -> Pixels:
    """As a generator's last up-sampling by two leaves it."""
    return noise(height // 2, width // 2).repeat(2, 0).repeat(2, 1)


def test_grids_by_hand() -> None:
    # 100 x 50 has room for 3 x 1 tiles of 32; the places 0, 34, 68 go down to multiples of 8, and 18 // 2 = 9 to 8.
    assert places(100, 50, 32, 4) == [(0, 8), (32, 8), (64, 8)]
    # 640 x 480, at most 9 of 128: 5 x 3 would fit, and of grids of nine 3 x 3 is nearer to 4 : 3 than any other.
    assert places(640, 480, 128, 9) == [(x, y) for y in (0, 176, 352) for x in (0, 256, 512)]
    # Four of a wide image: 4 x 1 (4 : 1) is nearer to 3 : 1 than 2 x 2 (1 : 1) is, by log 4/3 against log 3.
    assert places(384, 128, 64, 4) == [(x, 32) for x in (0, 104, 208, 320)]
    assert places(33, 700, 32, 1) == [(0, 328)]  # one: the middle, 334, down to a multiple of 8
    assert places(32, 32, 32, 9) == [(0, 0)]


@pytest.mark.parametrize(("height", "width"), [(90, 130), (32, 32), (33, 257), (1080, 1920)])
@pytest.mark.parametrize("most", [1, 4, 9])
def test_tiles_are_pixels_of_the_image_and_none_lies_over_another(height: int, width: int, most: int) -> None:
    image, seen = noise(height, width), np.zeros((height, width), int)
    cut, at = tiles(image, 32, most), places(width, height, 32, most)
    assert 1 <= len(cut) == len(at) <= most
    for tile, (x, y) in zip(cut, at, strict=True):
        assert np.array_equal(tile, image[y : y + 32, x : x + 32])
        assert x % 8 == y % 8 == 0
        seen[y : y + 32, x : x + 32] += 1
    assert seen.max() == 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (90, 134), (34, 500), (20, 48), (6, 10)])
def test_the_residual_of_a_doubled_picture_is_nought_as_it_is_fed(height: int, width: int) -> None:
    image = doubled(height, width)
    fed = to_tensor(inputs(image, SPEC))
    assert residual(fed).abs().max() == 0
    assert residual(to_tensor(inputs(noise(height, width), SPEC))).abs().mean() > 0.1
    # What scans did before: the picture made small, in which nothing of the cells is left.
    small = to_tensor(inputs(doubled(90, 134), InputSpec(size=32, margin=0)))
    assert residual(small).abs().mean() > 0.01


def test_a_short_side_is_continued_by_its_mirror_image() -> None:
    row = np.arange(3, dtype=np.uint8)[None, :, None].repeat(3, 2)  # 0 1 2
    assert mirrored(row, 8)[0, :, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert mirrored(row, 8).shape == (8, 8, 3)
    assert (mirrored(row, 8) == mirrored(row, 8)[:1]).all()  # of one row there is only that row


def test_a_large_picture_is_averaged_down_where_the_spec_says_so() -> None:
    image = np.array([[0, 10, 20, 30], [2, 12, 22, 32]], np.uint8)[..., None].repeat(3, 2)
    assert reduced(image, 1)[..., 0].tolist() == [[6, 26]]  # means of cells of 2 x 2
    assert reduced(image, 0) is image
    assert reduced(image, 2) is image
    assert inputs(noise(256, 300), InputSpec(size=32, margin=0, tiles=9, reduce=64)).shape == (4, 32, 32, 3)  # 64 x 75


def test_tiles_of_one_picture_are_one_number() -> None:
    found = pooled(np.array([1, 3, 5, -2], np.float32), [3, 1])
    assert found.tolist() == [3, -2]  # (1 + 3 + 5) / 3
    rows = pooled(np.array([[1, 0], [3, 2], [5, 7]], np.float32), [2, 1])
    assert rows.tolist() == [[2, 1], [5, 7]]
    assert pooled(np.array([4, 6], np.float32), [1, 1]).tolist() == [4, 6]


def test_specs_that_contradict_themselves_are_refused() -> None:
    for wrong in ({"margin": 1.3, "tiles": 4}, {"margin": 0, "reduce": 512}, {"margin": 0, "tiles": 4, "reduce": 64}):
        with pytest.raises(ValueError, match="tiles"):
            InputSpec(size=128, **wrong)
    with pytest.raises(UnmaskError, match="uint8"):
        tiles(np.zeros((4, 4, 3), np.float32), 32, 4)  # type: ignore[arg-type]


def test_turning_a_tile_into_a_tensor_keeps_its_cells() -> None:
    image = Image.fromarray(doubled(64, 64)).rotate(180)  # a camera's orientation moves whole pixels
    assert residual(to_tensor(tiles(np.asarray(image), 32, 4))).abs().max() == 0
    assert torch.equal(to_tensor(np.asarray(image)[None]) * 255, to_tensor(np.asarray(image)[None]).mul(255).round())
