"""Edits of single parts of a face, one after another: eyes, brows, nose, mouth made larger, moved, or someone else's.

What people do with photo editors: a part is warped, or taken from another image and blended in. Which parts, and in
which order, is kept with the forgery (`steps`, in Seq-DeepFake's words), so that it serves detectors of sequences, too.

The labels follow Shao, Wu and Liu, "Detecting and Recovering Sequential DeepFake Manipulation", ECCV 2022
(arXiv 2207.02204), whose own edits are made by GANs; the edits here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from unmask.base.generator import Forgery, Generator, Unforgeable
from unmask.data.donors import Donor, Donors
from unmask.data.landmarks import LEFT_BROW, LEFT_EYE, MOUTH, NOSE, RIGHT_BROW, RIGHT_EYE, Landmarks, Region, filled
from unmask.errors import InputError
from unmask.imageops.blending import blend, blur, poisson
from unmask.imageops.colour import transferred
from unmask.imageops.warping import moved, similarity
from unmask.types import Floats, Pixels

CARD = {
    "title": "Edits of parts of a face",
    "paper": "labels as in Shao, Wu and Liu, ECCV 2022, arXiv 2207.02204; the edits are ours",
    "task": "a real face -> one to three parts of it warped or exchanged, and which in what order",
    "licence": "Apache-2.0; no weights",
    "verified": "that each step changes its part and nothing else",
}
# In Seq-DeepFake's words for facial components; each polygon is moved or exchanged as one.
PARTS: dict[str, tuple[Region, ...]] = {
    "eye": (RIGHT_EYE, LEFT_EYE),
    "eyebrow": (RIGHT_BROW, LEFT_BROW),
    "nose": (NOSE,),
    "lip": (MOUTH,),
}
ROOM = {"eye": 0.16, "eyebrow": 0.12, "nose": 0.14, "lip": 0.16}  # round the points, in distances of the eyes


class RegionEdit(Generator):
    """Up to `most` different parts in random order; each warped, or exchanged for a look-alike's."""

    needs_donors = True

    def __init__(self, *, most: int = 3, exchange: float = 0.5) -> None:
        """
        Args:
            most: parts edited in one image, 1 to 4.
            exchange: share of edits that take the part from another face; the rest warps it.
        """
        if not 1 <= most <= len(PARTS) or not 0 <= exchange <= 1:
            raise InputError(f"most is 1 to {len(PARTS)} and exchange a share, not {most} and {exchange}")
        self.most, self.exchange = most, exchange

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        assert donors is not None
        side, names = image.shape[0], list(PARTS)
        giver = next(iter(donors.draw(rng, side, among=20)), None)  # one person gives all parts
        out, covered = image, np.zeros((side, side), np.float32)
        done: list[tuple[str, str]] = []
        for step in (names[n] for n in rng.permutation(len(names))[: rng.integers(1, self.most + 1)]):
            donor = giver if rng.random() < self.exchange else None
            edited, mask = _edited(out, face, step, donor, Warp.drawn(step, rng))
            if (edited != out).any():  # a part outside of the image, or of one flat colour, is no step
                out, covered = edited, np.maximum(covered, mask)
                done.append((step, "exchanged" if donor else "warped"))
        if not done:
            raise Unforgeable("no part of the face lies in the image, or all is of one colour")
        details = {"track": "facial_components", "steps": "-".join(step for step, _ in done)}
        details["ways"] = "-".join(way for _, way in done)
        if giver and "exchanged" in details["ways"]:
            details["donor"] = giver.name
        return Forgery(out, covered, details=details)


@dataclass(frozen=True)
class Warp:
    """How a part is warped: width and height times so much, shifted and curved by shares of the eyes' distance."""

    wide: float
    high: float
    right: float
    down: float
    curve: float  # how far its ends rise, its middle falls: a smile

    @classmethod
    def drawn(cls, step: str, rng: np.random.Generator) -> Warp:
        wide, high = (float(np.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 0.25))) for _ in range(2))
        right, down = rng.uniform(-0.04, 0.04, 2)
        curve = rng.choice([-1, 1]) * rng.uniform(0.03, 0.09) if step in ("lip", "eyebrow") else 0.0
        return cls(wide, high, float(right), float(down), float(curve))

    def mirrored(self) -> Warp:
        """For the other one of a pair."""
        return replace(self, right=-self.right)


def _edited(image: Pixels, face: Landmarks, step: str, donor: Donor | None, warp: Warp) -> tuple[Pixels, Floats]:
    """One part, both halves of a pair alike, and the mask of it."""
    covered = np.zeros(image.shape[:2], np.float32)
    for n, region in enumerate(PARTS[step]):
        mask = surroundings(face, region, ROOM[step], image.shape[0])
        if mask.max() < 0.5:
            continue
        if donor:
            image = exchanged(image, face, region, mask, donor)
        else:
            image = warped(image, face, region, mask, warp.mirrored() if n else warp)
        covered = np.maximum(covered, mask)
    return image, covered


def surroundings(face: Landmarks, region: Region, room: float, side: int) -> Floats:
    """A region's hull with `room` round it (in distances of the eyes), soft at its edge: (side, side) in 0..1."""
    reach = room * face.eyes
    hull = cv2.dilate(filled(face.at(region), side), np.ones((3, 3), np.uint8), iterations=max(1, round(reach)))
    soft = blur(np.asarray(hull, np.float32), max(0.6, 0.4 * reach))
    return np.where(soft < 1 / 255, 0, soft).clip(0, 1).astype(np.float32)


def warped(image: Pixels, face: Landmarks, region: Region, mask: Floats, warp: Warp) -> Pixels:
    """The part of an image under the mask, warped about the middle of its points, the more the whiter the mask."""
    points, unit = face.at(region), face.eyes
    centre, half = points.mean(0), max(1.0, float(np.ptp(points[:, 0])) / 2)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    dx, dy = x - centre[0], y - centre[1]
    bow = warp.curve * unit * (0.5 - np.square(dx / half).clip(0, 1))
    across = dx * (1 - 1 / warp.wide) + warp.right * unit
    along = dy * (1 - 1 / warp.high) + warp.down * unit + bow
    moved_x, moved_y = (np.asarray(v, np.float32) for v in (x - mask * across, y - mask * along))
    return np.asarray(cv2.remap(image, moved_x, moved_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def exchanged(image: Pixels, face: Landmarks, region: Region, mask: Floats, donor: Donor) -> Pixels:
    """The part of an image under the mask from another face, laid over the region's points and recoloured."""
    if len(donor.face.points) != len(face.points):
        raise InputError("donor and face have different landmarks: find both with one landmarker")
    over = similarity(donor.face.at(region), face.at(region))
    source = transferred(moved(donor.image, over, image.shape[0]), image, mask)
    return blend(image, poisson(image, source, (mask > 0.02).astype(np.float32)), mask)
