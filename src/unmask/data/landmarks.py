"""Dense points of a face, and where they lie in their usual order: what forging cuts, warps and measures by.

The points are the 68 of iBUG's 300-W (Sagonas et al., ICCV Workshops 2013), seen in the picture from left to right;
what stands after them, if anything, lies on the forehead and closes the outline. Where no landmarker is at hand,
`from_five` lays a standard face over the five points that every face finder gives: the median of a dense mesh over 800
aligned photographs, made symmetric. It follows the five points and nothing else: it knows neither an open mouth nor a
brow. On 800 further photographs its points lie 9 % of the distance of the eyes beside the mesh's (median over faces; in
the worst twentieth, profiles, more than 22 %).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from unmask.faces.regions import (
    INNER_MOUTH,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    MOUTH,
    NOSE,
    RIGHT_BROW,
    RIGHT_EYE,
)
from unmask.nouns import Floats, Pixels, UnmaskError

__all__ = [
    "BROWS", "INNER_MOUTH", "JAW", "LEAST", "LEFT_BROW", "LEFT_EYE", "MOUTH", "NOSE", "RIGHT_BROW", "RIGHT_EYE",
    "Landmarker", "Landmarks", "Region", "filled", "from_five", "hull", "standard",
]  # fmt: skip

Region = tuple[int, ...]
BROWS = RIGHT_BROW + LEFT_BROW
LEAST = 68

Landmarker = Callable[[Pixels, Floats], Floats]  # a crop (S, S, 3) and its five points (5, 2) -> (P, 2), P >= 68


@dataclass(frozen=True)
class Landmarks:
    """One face in one picture, in pixels of it: `points` float32 (P, 2), P >= 68, finite, in the order above."""

    points: Floats

    def __post_init__(self) -> None:
        """Raises: UnmaskError for points of another shape, or that are no numbers."""
        p = np.asarray(self.points)
        if p.ndim != 2 or p.shape[1] != 2 or len(p) < LEAST or not np.isfinite(p).all():
            raise UnmaskError(f"landmarks are {LEAST} or more finite points (P, 2), not {p.shape}")

    @property
    def five(self) -> Floats:
        """(5, 2) in the order of `Face.points`: eyes, nose tip (finders see it below iBUG's), corners of the mouth."""
        p = self.points
        eyes = [p[list(RIGHT_EYE)].mean(0), p[list(LEFT_EYE)].mean(0)]
        return np.asarray([*eyes, (p[30] + p[33]) / 2, p[48], p[54]], np.float32)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of all points."""
        return (*map(float, self.points.min(0)), *map(float, self.points.max(0)))  # type: ignore[return-value]

    @property
    def eyes(self) -> float:
        """Distance of the eyes, the unit of lengths in a face."""
        return float(np.linalg.norm(self.five[1] - self.five[0]))

    @property
    def outline(self) -> Floats:
        """(N, 2), convex, from the jaw to the forehead; without forehead points, to where the brows end above."""
        if len(self.points) > LEAST:
            rim = self.points[[*JAW, *range(LEAST, len(self.points))]]
        else:
            up = self.points[list(BROWS)] + (self.points[27] - self.points[33]) * np.float32(0.6)
            rim = np.concatenate([self.points[list(JAW + BROWS)], up])
        return hull(rim)

    def at(self, *regions: Region) -> Floats:
        """The points of some regions, (N, 2)."""
        return self.points[[n for region in regions for n in region]]

    def moved(self, matrix: Floats) -> Landmarks:
        """Under a (2, 3) map of the picture."""
        m = np.asarray(matrix, np.float64)
        return Landmarks(np.asarray(self.points @ m[:, :2].T + m[:, 2], np.float32))


def hull(points: Floats) -> Floats:
    """Corners of the smallest convex polygon round (N, 2) points."""
    return np.asarray(cv2.convexHull(np.asarray(points, np.float32)), np.float32).reshape(-1, 2)


def filled(polygon: Floats, side: int) -> Floats:
    """Float32 (side, side), 1 inside the convex hull of (N, 2) points and 0 outside."""
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(polygon.round().astype(np.int32)), 1.0)
    return mask


def from_five(five: Floats) -> Landmarks:
    """The standard face over five points: turned, scaled and shifted, then bent so that it nearly meets them.

    Args:
        five: (5, 2), in the order of `Face.points`.
    Returns: 68 points and 13 of the forehead.
    Raises: UnmaskError for points that span no face.
    """
    five = np.asarray(five, np.float64)
    z, w = _FIVE @ (1, 1j), five @ (1, 1j)
    centre = z.mean()
    turn = np.vdot(z - centre, w - w.mean()) / np.sum(np.abs(z - centre) ** 2)
    if not np.isfinite(turn) or abs(turn) < 1:
        raise UnmaskError(f"these five points do not look like a face: {five.round(1).tolist()}")
    laid = turn * (_STANDARD @ (1, 1j) - centre) + w.mean()
    rest = w - (turn * (z - centre) + w.mean())
    pull = np.linalg.solve(_near(_FIVE, _FIVE) + 0.01 * np.eye(5), rest)
    laid = laid + _near(_STANDARD, _FIVE) @ pull
    return Landmarks(np.stack([laid.real, laid.imag], 1).astype(np.float32))


def standard(image: Pixels, five: Floats) -> Floats:
    """A `Landmarker` that looks at the five points alone."""
    return from_five(five).points


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
