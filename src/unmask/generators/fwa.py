"""Face-warping artefacts: a face that was made small and warped into place, on its own image.

Early swaps synthesised a face at a fixed small size and warped it into the frame, so that it holds less detail than
what is round it. The same trace without any forgery method: scale the face down, blur it, warp it back and paste it.

Li and Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts", CVPR Workshops 2019 (arXiv 1811.00656),
section 3; ranges as DeepfakeBench has them (scales 0.2 to 0.8), the shapes of the mask are ours.
"""

from __future__ import annotations

import cv2
import numpy as np

from unmask.base.generator import Forgery, Generator, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import BROWS, MOUTH, NOSE, Landmarks, filled
from unmask.errors import InputError
from unmask.imageops.blending import blend, blur
from unmask.imageops.degradation import levels
from unmask.types import Floats, Pixels

CARD = {
    "title": "Face-warping artefacts",
    "paper": "Li and Lyu, CVPR Workshops 2019, arXiv 1811.00656",
    "task": "a real face -> the same, scaled down, blurred and warped back into place",
    "licence": "Apache-2.0; no weights",
    "verified": "that detail is lost inside the mask and nowhere else; ranges from DeepfakeBench's description",
}


class FaceWarping(Generator):
    """One affine map to a small square, a blur, and the inverse map back."""

    def __init__(self, *, scale: tuple[float, float] = (0.2, 0.8)) -> None:
        """
        Args:
            scale: smallest and largest size of the small face, as a share of its own.
        """
        if not 0 < scale[0] <= scale[1] < 1:
            raise InputError(f"scale goes upwards between 0 and 1, not {scale}")
        self.scale = scale

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        side = image.shape[0]
        scale = float(rng.uniform(*self.scale))
        source = warped(image, face, scale, float(rng.uniform(-20, 20)), int(rng.choice([1, 3, 5])))
        if rng.random() < 0.5:
            source = levels(source, rng.uniform(0.92, 1.08), rng.uniform(-8, 8))
        alpha = _shape(face, side, rng)
        if alpha.max() < 0.5:
            raise Unforgeable("the face lies outside of the image")
        return Forgery(blend(image, source, alpha), alpha, details={"scale": f"{scale:.3f}"})


def warped(image: Pixels, face: Landmarks, scale: float, degrees: float, kernel: int) -> Pixels:
    """The image through a turned square of `scale` times its size, blurred by `kernel` pixels (1 = not), and back."""
    side = image.shape[0]
    small = max(8, round(side * scale))
    scale = small / side
    x, y = map(float, face.five.mean(0))
    there = cv2.getRotationMatrix2D((x, y), degrees, scale)
    there[:, 2] += small / 2 - np.array([x, y])
    # Area averaging first: a warp alone would alias where the square is much smaller.
    average = cv2.GaussianBlur(image, (0, 0), max(0.1, 0.35 / scale)) if scale < 0.7 else image
    seen = cv2.warpAffine(average, there, (small, small), borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.GaussianBlur(seen, (kernel, kernel), 0)
    back = cv2.warpAffine(seen, cv2.invertAffineTransform(there), (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.uint8)


def _shape(face: Landmarks, side: int, rng: np.random.Generator) -> Floats:
    """All of the face, or from the brows to the mouth, or a polygon through some of its points; soft at the edge."""
    kind = rng.random()
    if kind < 0.5:
        rim = face.points[:68]
    elif kind < 0.8:
        rim = face.at(BROWS, NOSE, MOUTH)
    else:
        rim = face.points[rng.permutation(68)[: rng.integers(8, 20)]]
    centre = rim.mean(0)
    rim = centre + (rim - centre) * np.float32(rng.uniform(0.95, 1.15))
    soft = blur(filled(rim, side), face.eyes * rng.uniform(0.02, 0.1))
    return np.where(soft < 1 / 255, 0, soft).clip(0, 1).astype(np.float32)
