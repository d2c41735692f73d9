"""Face X-ray's blends: the face of a look-alike laid over a face, inside a bent and blurred outline.

A swap leaves a seam where two images meet, and that seam can be learnt without any method: take another person whose
landmarks lie nearly the same, correct the colours, and blend inside a mask with random outline and softness. The seam
itself, `boundary(mask)`, is what a detector is trained to draw.

Li et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020 (arXiv 1912.13458), section 3.3; constants
are from memory or ours.
"""

from __future__ import annotations

import cv2
import numpy as np

from unmask.base.generator import Forgery, FromLookAlike, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import Landmarks, hull
from unmask.imageops.blending import blend, blur
from unmask.imageops.colour import transferred
from unmask.imageops.warping import carried, moved, similarity
from unmask.types import Floats, Pixels

CARD = {
    "title": "Face X-ray blends",
    "paper": "Li et al., CVPR 2020, arXiv 1912.13458",
    "task": "a real face and a look-alike's -> one blended into the other; the seam is 4 M (1 - M)",
    "licence": "Apache-2.0; no weights",
    "verified": "blend and boundary by hand; constants of the mask are from memory or ours; no table of the paper",
}
GRID = 4  # points of the outline's deformation along each side


class FaceXray(FromLookAlike):
    """The nearest of a few look-alikes, moved by one similarity; the outline is bent by a coarse grid of triangles."""

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        side = image.shape[0]
        donor = self.look_alike(face, side, rng, donors)
        mask = _outline(face, side, rng)
        if mask.max() < 0.5:
            raise Unforgeable("the face lies outside of the image")
        source = moved(donor.image, similarity(donor.face.points, face.points), side)
        source = transferred(source, image, mask)
        return Forgery(blend(image, source, mask), mask, details={"donor": donor.name})


def boundary(mask: Floats) -> Floats:
    """4 M (1 - M): 1 where both images have an equal share, 0 where one has all (equation 2)."""
    return 4 * mask * (1 - mask)


def _outline(face: Landmarks, side: int, rng: np.random.Generator) -> Floats:
    """The landmarks' hull, bent by the triangles of a jittered grid, its edge blurred; (side, side) in 0..1."""
    rim = hull(face.points[:68]) if rng.random() < 0.5 else face.outline
    grid = np.stack(np.meshgrid(*[np.linspace(0, side - 1, GRID)] * 2), -1).reshape(-1, 2).astype(np.float32)
    inner = ((grid > 0) & (grid < side - 1)).all(1, keepdims=True)
    jitter = rng.uniform(-0.25, 0.25, grid.shape) * face.eyes * inner
    edges = np.concatenate(
        [np.linspace(p, q, 16, endpoint=False) for p, q in zip(rim, np.roll(rim, -1, 0), strict=True)]
    )
    bent = carried(edges, grid, (grid + jitter).astype(np.float32))
    mask = np.zeros((side, side), np.float32)
    cv2.fillPoly(mask, [bent.round().astype(np.int32)], 1.0)
    soft = blur(mask, face.eyes * rng.uniform(0.02, 0.18))
    return np.where(soft < 1 / 255, 0, soft).clip(0, 1).astype(np.float32)
