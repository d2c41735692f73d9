"""Self-blended images: a real face pasted over itself, after either copy was changed a little.

Every face swap ends by blending one image into another, and what betrays it is that the two disagree in colour,
sharpness, place or noise. Blending two versions of one image leaves nothing but that disagreement, so a detector
cannot learn a particular forgery method's habits, nor who is in the image.

Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022 (arXiv 2204.08376). Source-target
generator: section 3.2; mask generator and blending: section 3.3. Ours differs in the outline (all of the face cut at
a random height of the forehead, or one region of it, instead of dlib's hulls) and in stronger loss of resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unmask.base.generator import Forgery, Generator, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import BROWS, JAW, LEAST, LEFT_EYE, MOUTH, NOSE, RIGHT_EYE, Landmarks, filled
from unmask.imageops.blending import bend, blend, soften
from unmask.imageops.degradation import jpeg, levels, resized, sharpened
from unmask.types import Floats, Pixels

CARD = {
    "title": "Self-blended images",
    "paper": "Shiohara and Yamasaki, CVPR 2022, arXiv 2204.08376",
    "task": "a real face -> blended with a changed copy of itself",
    "licence": "Apache-2.0; no weights",
    "verified": "blend, ratios and determinism; not the paper's tables; outlines and losses of resolution are ours",
}
MESH = 468  # points of MediaPipe's mesh, which the shipped detector's training outlines faces by
# Of MediaPipe's 468 points: the outline from the forehead clockwise, brows, eyes with brows, lips, nose.
MESH_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
             152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
MESH_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
MESH_EYES = (*MESH_BROWS, 33, 145, 133, 362, 374, 263, 117, 346)
MESH_MOUTH = (61, 37, 267, 291, 405, 181, 17, 0, 57, 287, 200)
MESH_NOSE = (6, 48, 278, 64, 294, 2, 129, 358)
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # section 3.3


class SelfBlend(Generator):
    """Either copy of the face is changed, and one blended into the other inside a random part of the face."""

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        return _blended(image, _Parts.of(face.points), rng)

    def companion(
        self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None
    ) -> Pixels | None:
        """The target after its own change, as the authors do: else that change would tell the halves apart."""
        return self(image, face, rng, donors).base


def self_blend(image: Pixels, mesh: Floats, rng: np.random.Generator) -> tuple[Pixels, Floats]:
    """One forged version of a real face.

    Args:
        image: uint8 (S, S, 3), an aligned crop of a real face.
        mesh: (468, 2), MediaPipe's points, or (P, 2) as in `unmask.data.landmarks`, in pixels of `image`.
    Returns:
        the forged image, uint8 (S, S, 3), and how much of each pixel was replaced, float32 (S, S) in 0..1.
    Raises:
        Unforgeable: the blend changed nothing, or the mask covers nothing (a mesh outside of the image).
    """
    made = _blended(image, _Parts.of(mesh), rng)
    if np.array_equal(made.image, image):
        raise Unforgeable("self-blending changed nothing: is the image one flat colour?")
    return made.image, made.mask


@dataclass(frozen=True)
class _Parts:
    """Points (N, 2) of what masks are cut from, whatever the landmarks."""

    oval: Floats
    brows: Floats
    eyes: Floats
    mouth: Floats
    nose: Floats

    @classmethod
    def of(cls, points: Floats) -> _Parts:
        if len(points) == MESH:
            groups = (MESH_OVAL, MESH_BROWS, MESH_EYES, MESH_MOUTH, MESH_NOSE)
            return cls(*(points[list(g)] for g in groups))
        face = Landmarks(points)
        oval = face.points[[*JAW, *range(LEAST, len(points))]] if len(points) > LEAST else face.outline
        return cls(oval, face.at(BROWS), face.at(BROWS, RIGHT_EYE, LEFT_EYE), face.at(MOUTH), face.at(NOSE))


def _blended(image: Pixels, parts: _Parts, rng: np.random.Generator) -> Forgery:
    source, target = image, image
    if rng.random() < 0.5:
        source = change(image, rng)
    else:
        target = change(image, rng)
    alpha = soften(region(parts, image.shape[0], rng), rng)
    source, alpha = displace(source, alpha, rng)
    if alpha.max() < 0.5:
        raise Unforgeable("the mask covers nothing: does the mesh belong to this image?")
    alpha *= np.float32(rng.choice(RATIOS))
    return Forgery(blend(target, source, alpha), alpha.clip(0, 1), base=target)


def region(parts: _Parts, side: int, rng: np.random.Generator) -> Floats:
    """Float32 (S, S) of 0 and 1: the whole face cut at a random height of the forehead, or one part of it."""
    kind = rng.random()
    if kind < 0.7:
        points = parts.oval.copy()
        brow = parts.brows[:, 1].min()
        above = points[:, 1] < brow
        points[above, 1] = brow + rng.random() * (points[above, 1] - brow)
        centre = points.mean(0)
        points = centre + (points - centre) * rng.uniform(0.8, 1.05)
    else:
        choices = [parts.eyes, parts.mouth, parts.nose]
        chosen = choices[rng.integers(3)] if kind < 0.9 else np.concatenate([parts.mouth, parts.nose])
        points = chosen.mean(0) + (chosen - chosen.mean(0)) * rng.uniform(1.0, 1.4)
    return filled(points, side)


def change(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Colour and sharpness of one of the two copies: what a generator or another camera would have made of it."""
    out = levels(
        image,
        contrast=rng.uniform(0.88, 1.12),
        brightness=rng.uniform(-13, 13),
        saturation=rng.uniform(0.7, 1.3) if rng.random() < 0.5 else 1,
        tint=rng.uniform(-15, 15) if rng.random() < 0.5 else 0,
    )
    kind = rng.random()
    if kind < 0.5:
        up = rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST])
        return resized(out, rng.uniform(0.2, 0.75), int(up))
    if kind < 0.7:
        return sharpened(out, rng.uniform(0.8, 2.0))
    return jpeg(out, int(rng.integers(30, 85))) if kind < 0.85 else out


def displace(source: Pixels, alpha: Floats, rng: np.random.Generator) -> tuple[Pixels, Floats]:
    """Shift by up to 3 % across and 1.5 % down, scale by up to 5 % (section 3.2), and sometimes bend."""
    side = source.shape[0]
    scale = rng.uniform(0.95, 1 / 0.95)
    shift = rng.uniform((-0.03, -0.015), (0.03, 0.015)) * side + side / 2 * (1 - scale)
    move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    size = (side, side)
    moved = np.asarray(cv2.warpAffine(source, move, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    mask = np.asarray(cv2.warpAffine(alpha, move, size), np.float32)
    return (bend(moved, rng, side * 0.02, side * 0.1) if rng.random() < 0.4 else moved), mask
