"""A standard face, laid over five points: where there is no landmarker, or no time to look at the image.

It is the median of a dense mesh over 800 aligned photographs, made symmetric. It follows the five points and nothing
else: it knows neither an open mouth nor a brow. On 800 further photographs its points lie 9 % of the distance of the
eyes beside the mesh's (median over faces; in the worst twentieth, profiles, more than 22 %).
"""

from __future__ import annotations

import numpy as np

from unmask.errors import InputError
from unmask.types import Floats


def from_five(five: Floats) -> Floats:
    """The standard face over five points: turned, scaled and shifted, then bent so that it nearly meets them.

    Args:
        five: (5, 2), in the order of `Face.points`.
    Returns: float32 (81, 2), in the same pixels, in the order of `unmask.faces.regions`.
    Raises: UnmaskError for points that span no face.
    """
    five = np.asarray(five, np.float64)
    z, w = _FIVE @ (1, 1j), five @ (1, 1j)
    centre = z.mean()
    turn = np.vdot(z - centre, w - w.mean()) / np.sum(np.abs(z - centre) ** 2)
    if not np.isfinite(turn) or abs(turn) < 1:
        raise InputError(f"these five points do not look like a face: {five.round(1).tolist()}")
    laid = turn * (_STANDARD @ (1, 1j) - centre) + w.mean()
    rest = w - (turn * (z - centre) + w.mean())
    pull = np.linalg.solve(_near(_FIVE, _FIVE) + 0.01 * np.eye(5), rest)
    laid = laid + _near(_STANDARD, _FIVE) @ pull
    return np.stack([laid.real, laid.imag], 1).astype(np.float32)


def _near(one: Floats, other: Floats) -> Floats:
    """How far a shift of points `other` (M, 2) moves points `one` (N, 2): 1 at the point, falling with its distance."""
    gap = np.square(one[:, None] - other[None]).sum(2)
    near: Floats = np.exp(-gap / (2 * _REACH**2))
    return near


_REACH = 0.75  # of the bend, in distances of the eyes
_FIVE = np.array([(-0.5, 0), (0.5, 0), (0, 0.587), (-0.431, 1.008), (0.431, 1.008)])
# Origin between the eyes, their distance the unit; y downwards.
_STANDARD = np.array([
    # jaw
    (-1.044, 0.144), (-1.029, 0.36), (-1.016, 0.574), (-0.916, 1.04), (-0.825, 1.227), (-0.719, 1.362),
    (-0.464, 1.554), (-0.192, 1.681), (0, 1.699), (0.192, 1.681), (0.464, 1.554), (0.719, 1.362), (0.825, 1.227),
    (0.916, 1.04), (1.016, 0.574), (1.029, 0.36), (1.044, 0.144),
    # brows
    (-0.855, -0.203), (-0.762, -0.308), (-0.618, -0.366), (-0.435, -0.368), (-0.223, -0.35),
    (0.223, -0.35), (0.435, -0.368), (0.618, -0.366), (0.762, -0.308), (0.855, -0.203),
    # nose
    (0, -0.072), (0, 0.136), (0, 0.317), (0, 0.436), (-0.192, 0.603), (-0.113, 0.655), (0, 0.651), (0.113, 0.655),
    (0.192, 0.603),
    # eyes
    (-0.685, 0.042), (-0.573, -0.013), (-0.418, -0.021), (-0.267, 0.05), (-0.407, 0.089), (-0.562, 0.09),
    (0.267, 0.05), (0.418, -0.021), (0.573, -0.013), (0.685, 0.042), (0.562, 0.09), (0.407, 0.089),
    # lips, outside and inside
    (-0.39, 1.021), (-0.234, 0.888), (-0.117, 0.849), (0, 0.862), (0.117, 0.849), (0.234, 0.888), (0.39, 1.021),
    (0.221, 1.162), (0.118, 1.197), (0, 1.207), (-0.118, 1.197), (-0.221, 1.162),
    (-0.334, 1.013), (-0.087, 0.969), (0, 0.97), (0.087, 0.969), (0.334, 1.013), (0.094, 1.053), (0, 1.058),
    (-0.094, 1.053),
    # forehead
    (1.028, -0.087), (0.981, -0.277), (0.891, -0.46), (0.746, -0.608), (0.525, -0.71), (0.285, -0.759), (0, -0.77),
    (-0.285, -0.759), (-0.525, -0.71), (-0.746, -0.608), (-0.891, -0.46), (-0.981, -0.277), (-1.028, -0.087),
])  # fmt: skip
