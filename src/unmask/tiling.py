"""Whole images as detectors want them: tiles at the image's own resolution, or the image made small.

What a generator leaves behind lies between neighbouring pixels, and resizing erases it. So an image is cut into tiles
pixel by pixel, and the scores of its tiles become one (`pooled`). Training, evaluation, export and scan all come here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from unmask.faces.align import check_picture
from unmask.types import Floats, InputSpec, Pixels

STEP = 8  # pixels: tiles begin at multiples, so that blocks of JPEG and cells of up-sampling lie in all of them alike


def inputs(image: Pixels, spec: InputSpec) -> Pixels:
    """An image (H, W, 3) as weights of margin 0 want it: uint8 (N, size, size, 3).

    Tiles of the image, which is first reduced where `spec.reduce` says so; without `spec.tiles` the image made small.
    """
    return tiles(reduced(image, spec.reduce), spec.size, spec.tiles) if spec.tiles else whole(image, spec)[0][None]


def tiles(image: Pixels, size: int, most: int) -> Pixels:
    """At most `most` tiles of an image (H, W, 3), evenly spread, none over another: uint8 (N, size, size, 3), N >= 1.

    A side shorter than `size` is continued by its own mirror image, to the right or below.
    """
    check_picture(image)
    image = mirrored(image, size)
    height, width = image.shape[:2]
    return np.stack([image[y : y + size, x : x + size] for x, y in places(width, height, size, most)])


def places(width: int, height: int, size: int, most: int) -> list[tuple[int, int]]:
    """Left and upper edges (x, y) of the tiles of an image that has room for one, row by row.

    Of all grids of at most `most` tiles that do not overlap, that with the most tiles; of several the one whose shape
    is nearest to the image's. The grid reaches from border to border, as far as multiples of `STEP` allow.
    """
    across, down = width // size, height // size
    grids = [(c, min(down, most // c)) for c in range(1, min(across, most) + 1)]
    aspect = math.log(width / height)
    columns, rows = min(grids, key=lambda g: (-g[0] * g[1], abs(math.log(g[0] / g[1]) - aspect)))
    return [(x, y) for y in _spread(height - size, rows) for x in _spread(width - size, columns)]


def _spread(room: int, count: int) -> list[int]:
    """`count` offsets in 0..room: both ends and what lies evenly between, or the middle, down to multiples of STEP."""
    at = [room // 2] if count == 1 else [room * i // (count - 1) for i in range(count)]
    return [offset - offset % STEP for offset in at]


def mirrored(image: Pixels, size: int) -> Pixels:
    """The image, continued by its mirror image to `size` where a side is shorter."""
    below, beside = (max(0, size - side) for side in image.shape[:2])
    return np.pad(image, ((0, below), (0, beside), (0, 0)), mode="symmetric") if below or beside else image


def reduced(image: Pixels, short: int) -> Pixels:
    """The image; one whose short side is longer than `short` averaged down to that, by area. 0 = never."""
    height, width = image.shape[:2]
    if not short or min(height, width) <= short:
        return image
    scale = short / min(height, width)
    size = max(short, round(width * scale)), max(short, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def whole(image: Pixels, spec: InputSpec) -> tuple[Pixels, Floats]:
    """The whole image made small: its short side resized to `spec.size`, the centre cut out.

    Returns: uint8 (size, size, 3), and the (2, 3) matrix from image pixels to crop pixels.
    """
    check_picture(image)
    height, width = image.shape[:2]
    side = min(height, width)
    x0, y0 = (width - side) / 2, (height - side) / 2
    cut = Image.fromarray(np.ascontiguousarray(image[int(y0) : math.ceil(y0 + side), int(x0) : math.ceil(x0 + side)]))
    box = (x0 - int(x0), y0 - int(y0), x0 - int(x0) + side, y0 - int(y0) + side)
    crop = cut.resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    scale = spec.size / side
    return np.asarray(crop), np.array([[scale, 0, -scale * x0], [0, scale, -scale * y0]], np.float32)


def pooled(values: Floats, counts: Sequence[int]) -> Floats:
    """Numbers of tiles (N, ...), the tiles of one image after those of another -> their mean by image, (images, ...).

    The one rule by which tiles become a score: the mean of their log-odds.

    Args:
        counts: tiles of each image, at least one; they add up to N.
    """
    if all(count == 1 for count in counts):
        return values
    starts = np.cumsum([0, *counts[:-1]])
    total = np.add.reduceat(values, starts, axis=0)
    shape = (-1,) + (1,) * (values.ndim - 1)
    return np.asarray(total / np.reshape(counts, shape).astype(values.dtype), values.dtype)
