"""Inconsistent images and where they disagree: the pairs that patch-wise consistency learning trains on.

An image from one camera is consistent with itself, and a blend is not: patches inside and outside of the mask come
from two sources. So a look-alike's face is blended in under an elastically bent, blurred hull, and the target is, for
each two patches, how alike their shares of the foreign image are: `consistency(mask)`.

Zhao et al., "Learning Self-Consistency for Deepfake Detection", ICCV 2021 (arXiv 2012.09311): PCL, section 3.1, and
I2G, section 3.2. Constants are from memory or ours.
"""

from __future__ import annotations

import cv2
import numpy as np

from unmask.base.generator import Forgery, FromLookAlike, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import Landmarks, filled
from unmask.imageops.blending import bend, blend, blur
from unmask.imageops.colour import transferred
from unmask.imageops.degradation import jpeg, resized
from unmask.imageops.warping import moved, similarity
from unmask.types import Floats, Pixels

CARD = {
    "title": "Inconsistency image generator (PCL-I2G)",
    "paper": "Zhao et al., ICCV 2021, arXiv 2012.09311",
    "task": "a real face and a look-alike's -> a blend, its mask, and the consistency of each two patches",
    "licence": "Apache-2.0; no weights",
    "verified": "the consistency target by hand; constants are from memory or ours; no table of the paper",
}
PATCHES = 16  # along each side, as the paper's 256-pixel crops have


class Inconsistent(FromLookAlike):
    """Nearest look-alike, elastic hull; either image may have been compressed or made smaller before."""

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        side = image.shape[0]
        donor = self.look_alike(face, side, rng, donors)
        alpha = bend(filled(face.outline, side), rng, 0.25 * face.eyes, 0.5 * face.eyes)
        alpha = blur(alpha, face.eyes * rng.uniform(0.03, 0.2))
        alpha = np.where(alpha < 1 / 255, 0, alpha).clip(0, 1).astype(np.float32)
        if alpha.max() < 0.5:
            raise Unforgeable("the face lies outside of the image")
        source = moved(donor.image, similarity(donor.face.points, face.points), side)
        source, target = _history(transferred(source, image, alpha), rng), _history(image, rng)
        return Forgery(blend(target, source, alpha), alpha, base=target, details={"donor": donor.name})

    def companion(
        self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None
    ) -> Pixels | None:
        """The target with its own history: else a global change would tell the halves of a pair apart."""
        return self(image, face, rng, donors).base


def consistency(mask: Floats, patches: int = PATCHES) -> Floats:
    """For each two patches 1 - |m - m'|, m being a patch's mean share of the foreign image.

    Args:
        mask: (S, S) in 0..1; all zero for a real image, whose patches all agree.
        patches: along each side.
    Returns: float32 (patches ** 2, patches ** 2), row by row, in 0..1.
    """
    share = cv2.resize(mask, (patches, patches), interpolation=cv2.INTER_AREA).ravel()
    return np.asarray(1 - np.abs(share[:, None] - share[None]), np.float32)


def _history(image: Pixels, rng: np.random.Generator) -> Pixels:
    """What an image may have gone through before it was used: the two of a blend went through different things."""
    kind = rng.random()
    if kind < 0.25:
        return jpeg(image, int(rng.integers(50, 95)))
    return resized(image, rng.uniform(0.4, 0.9)) if kind < 0.5 else image
