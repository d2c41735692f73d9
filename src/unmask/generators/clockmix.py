"""ClockMix: sectors of several aligned faces in one image, cut round the middle of the face.

Faces that are aligned have their eyes, noses and mouths in the same places. A clock's hand that sweeps from one ray to
another round the middle replaces a sector by another face's, and the structure stays whole, unlike with CutMix. What a
detector then sees are several people, backgrounds and forgeries at once, and no place where the clue is to be expected.

From ED4, "Explicit Data-level Debiasing for Deepfake Detection", arXiv 2408.06779 (version 2). A re-implementation from
a description: the number of sectors, their least angle and what is mixed in are ours; no number of the paper was
verified. There a mixture is fake if any part of it is, and mixtures of real faces alone are real. Here, where every
result is a forgery, at least one sector is: it was forged by `of`. So that the straight edges do not come to mean fake,
training shows the real face beside it as a mixture, too, of real faces alone (`companion`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.base.generator import Forgery, Generator, Unforgeable
from unmask.data.donors import Donor, Donors
from unmask.data.landmarks import Landmarks
from unmask.errors import InputError
from unmask.registry import create
from unmask.types import Pixels

CARD = {
    "title": "ClockMix (structure-preserving mixtures)",
    "paper": "ED4, arXiv 2408.06779, a re-implementation from a description",
    "task": "a real face and those of others -> sectors of all of them, at least one forged",
    "licence": "Apache-2.0; no weights",
    "verified": "sectors partition the image, label rules by hand; the authors' code was not at hand",
}
LEAST = np.pi / 6  # of a sector's angle
Bools = NDArray[np.bool_]


class ClockMix(Generator):
    """The face itself and up to three others, of which the first is forged and the rest may be."""

    needs_donors = True

    def __init__(self, *, of: str = "sbi", most: int = 4) -> None:
        """
        Args:
            of: the generator that forges what is mixed in.
            most: faces in a mixture, 2 or more.
        """
        if most < 2 or of == "clockmix":
            raise InputError(f"a mixture has 2 or more faces and is not made of mixtures, not {most} of {of}")
        self.maker, self.of, self.most = create("generator", of), of, most

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        assert donors is not None
        others = _others(donors, image.shape[0], rng, self.most)
        faces, labels = [image], [0]
        for n, donor in enumerate(others):
            forge = n == 0 or rng.random() < 0.5
            faces.append(self.maker(donor.image, donor.face, rng, donors).image if forge else donor.image)
            labels.append(int(forge))
        masks = _clock(face, len(faces), image.shape[0], rng)
        details = {
            "donor": " ".join(d.name for d in others),
            "of": self.of,
            "sectors": " ".join("forged" if fake else "real" for fake in labels),
            "soft_label": f"{soft_label(masks, labels):.4f}",
        }
        return Forgery(mixed(faces, masks), (~masks[0]).astype(np.float32), details=details)

    def companion(
        self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None
    ) -> Pixels | None:
        """A mixture of real faces alone, which is real."""
        assert donors is not None
        faces = [image, *(donor.image for donor in _others(donors, image.shape[0], rng, self.most))]
        return mixed(faces, _clock(face, len(faces), image.shape[0], rng))


def _others(donors: Donors, side: int, rng: np.random.Generator, most: int) -> list[Donor]:
    """One or more other people's faces. Raises: Unforgeable without any."""
    others = donors.draw(rng, side, int(rng.integers(1, most)))
    if not others:
        raise Unforgeable("there is nobody to mix with: no other real face of this split and another group")
    return others


def _clock(face: Landmarks, faces: int, side: int, rng: np.random.Generator) -> Bools:
    """Sectors round the tip of the nose: a random base ray, and no sector smaller than LEAST."""
    spare = 2 * np.pi - faces * LEAST
    cuts = np.sort(rng.uniform(0, spare, faces - 1)) + LEAST * np.arange(1, faces)
    centre = (float(face.points[30, 0]), float(face.points[30, 1]))
    return sectors(side, centre, float(rng.uniform(0, 2 * np.pi)), cuts.tolist())


def sectors(side: int, centre: tuple[float, float], base: float, ends: Sequence[float]) -> Bools:
    """Which pixels each of n faces fills, (n, side, side): exactly one face each pixel.

    Angles go clockwise from the ray at angle `base` (from the x axis, y downwards). Face k fills those between
    `ends[k - 2]` and `ends[k - 1]`, beginning at 0; face 0 fills what is left, and the centre, which has no angle.

    Args:
        ends: n - 1 angles in 0..2 pi, ascending.
    """
    y, x = np.mgrid[:side, :side]
    dy, dx = y - centre[1], x - centre[0]
    angle = (np.arctan2(dy, dx) - base) % (2 * np.pi)
    hand = np.searchsorted(np.asarray(ends), angle, side="left")  # how many ends a pixel lies beyond
    face = np.where((hand == len(ends)) | ((dx == 0) & (dy == 0)), 0, hand + 1)
    masks: Bools = face[None] == np.arange(len(ends) + 1)[:, None, None]
    return masks


def mixed(faces: Sequence[Pixels], masks: Bools) -> Pixels:
    """Each pixel from the face whose sector it lies in: hard edges, no feather."""
    out = faces[0].copy()
    for face, mask in zip(faces[1:], masks[1:], strict=True):
        out[mask] = face[mask]
    return out


def hard_label(labels: Sequence[int]) -> int:
    """Fake if any face in the mixture is."""
    return int(any(labels))


def soft_label(masks: Bools, labels: Sequence[int]) -> float:
    """Share of the image that fake faces fill."""
    return float((masks.mean((1, 2)) * np.asarray(labels)).sum())
