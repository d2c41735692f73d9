"""Dense points of a face, and where they lie in their usual order: what forging cuts, warps and measures by.

The points are the 68 of iBUG's 300-W (Sagonas et al., ICCV Workshops 2013), seen in the image from left to right;
what stands after them, if anything, lies on the forehead and closes the outline. Where no landmarker is at hand,
`from_five` lays a standard face over the five points that every face detector gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from unmask import faces
from unmask.errors import InputError
from unmask.faces.align import TEMPLATES
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
from unmask.imageops.blending import blur
from unmask.types import Floats, InputSpec, Pixels

__all__ = [
    "BROWS", "INNER_MOUTH", "JAW", "LEAST", "LEFT_BROW", "LEFT_EYE", "MOUTH", "NOSE", "RIGHT_BROW", "RIGHT_EYE",
    "Landmarker", "Landmarks", "Region", "aligned", "filled", "from_five", "hull", "soft_face", "standard",
]  # fmt: skip

Region = tuple[int, ...]
BROWS = RIGHT_BROW + LEFT_BROW
LEAST = 68

Landmarker = Callable[[Pixels, Floats], Floats]  # a crop (S, S, 3) and its five points (5, 2) -> (P, 2), P >= 68


@dataclass(frozen=True)
class Landmarks:
    """One face in one image, in pixels of it: `points` float32 (P, 2), P >= 68, finite, in the order above."""

    points: Floats

    def __post_init__(self) -> None:
        """Raises: UnmaskError for points of another shape, or that are no numbers."""
        p = np.asarray(self.points)
        if p.ndim != 2 or p.shape[1] != 2 or len(p) < LEAST or not np.isfinite(p).all():
            raise InputError(f"landmarks are {LEAST} or more finite points (P, 2), not {p.shape}")

    @property
    def five(self) -> Floats:
        """(5, 2) in the order of `Face.points`: eyes, nose tip (seen below iBUG's), mouth corners."""
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
        """Under a (2, 3) map of the image."""
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


def soft_face(face: Landmarks, side: int) -> Floats:
    """Float32 (side, side) in 0..1: the face's outline with an edge as soft as 8 % of the eyes' distance."""
    soft = blur(filled(face.outline, side), 0.08 * face.eyes)
    return np.where(soft < 1 / 255, 0, soft).clip(0, 1).astype(np.float32)


def from_five(five: Floats) -> Landmarks:
    """The standard face over five points (5, 2). Raises: UnmaskError for points that span no face."""
    return Landmarks(faces.from_five(five))


def aligned(spec: InputSpec) -> Floats:
    """Where the alignment puts the five points in every crop of this specification, pixels, (5, 2)."""
    return np.asarray(spec.size * (0.5 + (TEMPLATES[spec.template] - 0.5) / spec.margin), np.float32)


def standard(image: Pixels, five: Floats) -> Floats:
    """A `Landmarker` that looks at the five points alone."""
    return from_five(five).points
