"""From five points to the crop that some weights expect: one implementation for training, export and scan.

Coordinates are continuous: (0, 0) is the outer corner of the first pixel, whose centre is (0.5, 0.5). An image halved
in size thus has its coordinates halved exactly, and a crop does not shift with the resolution that its face came in.

Pixels outside the image repeat its nearest edge: a black corner would tell a detector where the frame ended.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmask.errors import InputError
from unmask.types import Crop, Face, Floats, InputSpec, Pixels

TEMPLATES: dict[str, Floats] = {
    # Upright and symmetric, for GenD-like crops: at margin 1.0 the eyes lie a third of the side apart.
    "gend5": np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)], np.float32),
    # The 112 x 96 points of SphereFace and ArcFace, centred in a square of 112.
    "arcface5": (
        np.array(
            [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)],
            np.float32,
        )
        + np.array([8, 0], np.float32)
    )
    / np.float32(112),
}
_FILTER_REACH = 2  # pixels that the bicubic filter looks at beyond the one it is asked for
_BICUBIC_ALIASES = 1.4  # above this reduction, bilinear interpolation, being blunter, is nearer to the true average


def matrix(points: Floats, spec: InputSpec) -> Floats:
    """Least-squares similarity from frame pixels to crop pixels.

    Template point p, in 0..1 at margin 1, belongs at `size * (0.5 + (p - 0.5) / margin)` of the crop. A similarity
    without reflection is one complex number and a shift, w = a z + b, so that Umeyama's optimum (PAMI 1991) is the
    linear regression a = <z, w> / <z, z> of centred points.

    Args:
        points: (5, 2), in the order of `Face.points`.
        spec: with margin > 0.
    Returns: (2, 3) float32.
    Raises: UnmaskError for points that span no face, an unknown template, or a spec of whole images.
    """
    if spec.template not in TEMPLATES:
        raise InputError(f"unknown face template {spec.template!r}; known are {', '.join(sorted(TEMPLATES))}")
    if spec.margin == 0:
        raise InputError("this detector looks at whole images (margin 0): there is no face to align, see unmask.tiling")
    source = np.asarray(points, np.float64)
    if source.shape != (5, 2) or not np.isfinite(source).all():
        raise InputError(f"a face has five finite points (5, 2), not {source.shape}: {source.tolist()}")
    target = spec.size * (0.5 + (TEMPLATES[spec.template].astype(np.float64) - 0.5) / spec.margin)
    z, w = source @ (1, 1j), target @ (1, 1j)
    centre, spread = z.mean(), np.abs(z - z.mean()).max()
    a = np.vdot(z - centre, w - w.mean()) / max(float(np.sum(np.abs(z - centre) ** 2)), 1e-12)
    # A mirrored or scrambled face leaves nothing of `a`: the crop would be one pixel, blown up or shrunk to nothing.
    if spread < 1e-3 or abs(a) * spread < 0.02 * spec.size / spec.margin:
        raise InputError(f"these five points do not look like a face: {source.round(1).tolist()}")
    b = w.mean() - a * centre
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


def align(image: Pixels, matrix: Floats, size: int, *, fine: bool = True) -> Pixels:
    """The crop that `matrix` (2, 3; frame pixels -> crop pixels) cuts out of `image` (H, W, 3), anti-aliased.

    A face larger than the crop is first averaged over whole blocks of pixels, then turned, shifted and shrunk by what
    remains (less than two) with interpolation; a smaller face is only turned and enlarged. Against a crop that is
    bicubic at six-fold resolution this comes to 40-55 dB on a 1080p frame, as good as resizing with a proper filter
    and twice as quick. Work and memory depend on the sizes of the face and the crop, never on how far a face sticks
    out of the frame.

    fine: bicubic where nothing aliases; otherwise bilinear and from fewer rows, at a third of the time, for what looks
    at shapes only.

    Returns: uint8 (size, size, 3).
    Raises: UnmaskError when the matrix cannot be inverted.
    """
    check_picture(image)
    inverse = _inverse(matrix)
    region = _region(inverse, size)
    height, width = image.shape[:2]
    x0 = int(np.clip(math.floor(region[0][0]) - _FILTER_REACH, 0, width - 1))
    y0 = int(np.clip(math.floor(region[0][1]) - _FILTER_REACH, 0, height - 1))
    x1 = int(np.clip(math.ceil(region[1][0]) + _FILTER_REACH, x0 + 1, width))
    y1 = int(np.clip(math.ceil(region[1][1]) + _FILTER_REACH, y0 + 1, height))
    # Frame pixels per crop pixel: whole steps are averaged away, and what remains lies between one and two.
    shrink = math.sqrt(abs(np.linalg.det(inverse[:, :2])))
    step = max(1, int(shrink))
    # Of a large face two rows a step are enough where only shapes count: copying all is the larger part of the work.
    skip = 1 if fine else max(1, step // 2)
    down = max(1, step // skip)
    part = Image.fromarray(np.ascontiguousarray(image[y0 + (skip - 1) // 2 : y1 : skip, x0:x1]))
    into_part = (inverse - np.array([[0, 0, x0], [0, 0, y0]])) / np.array([[step], [down * skip]])
    part, into_part = _repeat_edges(part.reduce((step, down)) if step > 1 else part, into_part, size)
    smooth = not fine or shrink / step > _BICUBIC_ALIASES
    crop = part.transform(
        (size, size),
        Image.Transform.AFFINE,
        into_part.ravel().tolist(),
        resample=Image.Resampling.BILINEAR if smooth else Image.Resampling.BICUBIC,
    )
    return np.asarray(crop)


def crop(image: Pixels, face: Face, spec: InputSpec) -> Crop:
    """The face as the weights want it. Raises: UnmaskError as `matrix` and `align` do."""
    m = matrix(face.points, spec)
    return Crop(face, m, align(image, m, spec.size))


def check_picture(image: Pixels) -> None:
    """Raises: UnmaskError unless `image` is uint8 (H, W, 3) with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"expected an image of uint8 (H, W, 3), not {image.dtype} {image.shape}")


def _inverse(matrix: Floats) -> NDArray[np.float64]:
    forward = np.asarray(matrix, np.float64)
    if forward.shape != (2, 3) or not np.isfinite(forward).all():
        raise InputError(f"an alignment is a finite (2, 3) matrix, not {forward.tolist()}")
    if abs(np.linalg.det(forward[:, :2])) < 1e-12:
        raise InputError("this alignment flattens the face to a line or a point")
    linear = np.linalg.inv(forward[:, :2])
    inverse = np.column_stack([linear, -linear @ forward[:, 2]])
    if np.abs(inverse).max() > 1e9:
        raise InputError("this alignment reaches beyond any image")
    return inverse


def _region(inverse: NDArray[np.float64], size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest (x, y) that the crop's corners reach."""
    corners = inverse @ np.array([(0, 0, 1), (size, 0, 1), (0, size, 1), (size, size, 1)], np.float64).T
    return corners.min(axis=1), corners.max(axis=1)


def _repeat_edges(
    part: Image.Image, inverse: NDArray[np.float64], size: int
) -> tuple[Image.Image, NDArray[np.float64]]:
    """Extends `part` by its own edges to where the crop reaches, and shifts `inverse` (crop -> part) with it."""
    low, high = _region(inverse, size)
    if (low >= 0).all() and high[0] <= part.width and high[1] <= part.height:
        return part, inverse
    x0, y0 = (math.floor(v) - _FILTER_REACH for v in low)
    x1, y1 = (math.ceil(v) + _FILTER_REACH for v in high)
    columns = np.clip(np.arange(x0, x1), 0, part.width - 1)
    rows = np.clip(np.arange(y0, y1), 0, part.height - 1)
    extended = np.asarray(part)[rows[:, None], columns[None, :]]
    return Image.fromarray(extended), inverse - np.array([[0, 0, x0], [0, 0, y0]])
