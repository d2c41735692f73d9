"""Self-blended images: a real face pasted over itself, after either copy was changed a little.

Every face swap ends by blending one picture into another, and what betrays it is that the two disagree in colour,
sharpness, place or noise. Blending two versions of one picture leaves nothing but that disagreement, so a detector
cannot learn a particular forger's habits, nor who is in the picture.

Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022 (arXiv 2204.08376). Source-target
generator: section 3.2; mask generator and blending: section 3.3. Ours differs in the outline (MediaPipe's mesh, cut at
a random height of the forehead, or one region of the face, instead of dlib's hulls) and in stronger loss of resolution.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.data.degrade import jpeg, levels, resized, sharpened
from unmask.nouns import Floats, Pixels

T = TypeVar("T", np.uint8, np.float32)

# Of MediaPipe's 468 points: the outline from the forehead clockwise, brows, eyes with brows, lips, nose.
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
EYES = (*BROWS, 33, 145, 133, 362, 374, 263, 117, 346)
MOUTH = (61, 37, 267, 291, 405, 181, 17, 0, 57, 287, 200)
NOSE = (6, 48, 278, 64, 294, 2, 129, 358)
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # section 3.3


def self_blend(image: Pixels, mesh: Floats, rng: np.random.Generator) -> tuple[Pixels, Floats]:
    """One forged version of a real face.

    Args:
        image: uint8 (S, S, 3), an aligned crop of a real face.
        mesh: (468, 2), MediaPipe's points in pixels of `image`.
    Returns:
        the forged picture, uint8 (S, S, 3), and how much of each pixel was replaced, float32 (S, S) in 0..1.
    Raises:
        ValueError: the blend changed nothing, or the mask covers nothing (a mesh outside of the picture).
    """
    source, target = image, image
    if rng.random() < 0.5:
        source = change(image, rng)
    else:
        target = change(image, rng)
    alpha = soften(region(mesh, image.shape[0], rng), rng)
    source, alpha = displace(source, alpha, rng)
    if alpha.max() < 0.5:
        raise ValueError("the mask covers nothing: does the mesh belong to this picture?")
    alpha *= np.float32(rng.choice(RATIOS))
    forged = (target + alpha[..., None] * (source.astype(np.float32) - target)).round().clip(0, 255).astype(np.uint8)
    if np.array_equal(forged, image):
        raise ValueError("self-blending changed nothing: is the picture one flat colour?")
    return forged, alpha


def region(mesh: Floats, side: int, rng: np.random.Generator) -> Floats:
    """Float32 (S, S) of 0 and 1: the whole face cut at a random height of the forehead, or one part of it."""
    kind = rng.random()
    if kind < 0.7:
        points = mesh[list(OVAL)].copy()
        brow = mesh[list(BROWS), 1].min()
        above = points[:, 1] < brow
        points[above, 1] = brow + rng.random() * (points[above, 1] - brow)
        centre = points.mean(0)
        points = centre + (points - centre) * rng.uniform(0.8, 1.05)
    else:
        parts = [EYES, MOUTH, NOSE]
        chosen = parts[rng.integers(3)] if kind < 0.9 else MOUTH + NOSE
        points = mesh[list(chosen)]
        points = points.mean(0) + (points - points.mean(0)) * rng.uniform(1.0, 1.4)
    mask = np.zeros((side, side), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), 1.0)
    return mask


def soften(mask: Floats, rng: np.random.Generator) -> Floats:
    """Bend the outline, then widen or narrow it and blur its edge: two blurs with a threshold between them."""
    side = mask.shape[0]
    mask = _bend(mask, rng, side * 0.04, side * 0.06)
    if rng.random() < 0.3:  # some forgers leave a hard edge
        return _blur(mask, 0.7)
    mask = _blur(mask, side * rng.uniform(0.01, 0.05))
    mask = _blur((mask > rng.uniform(0.2, 0.8) * mask.max()).astype(np.float32), side * rng.uniform(0.005, 0.045))
    return mask / max(float(mask.max()), 1e-6)  # a small part must not fade away


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
    return (_bend(moved, rng, side * 0.02, side * 0.1) if rng.random() < 0.4 else moved), mask


def _blur(mask: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def _bend(image: NDArray[T], rng: np.random.Generator, reach: float, smooth: float) -> NDArray[T]:
    """Move each pixel by a smooth random field of at most about `reach` pixels."""
    side = image.shape[0]
    grid = max(3, round(side / smooth / 2))
    coarse = rng.uniform(-reach, reach, (grid, grid, 2)).astype(np.float32)
    field = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    bent = cv2.remap(image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(bent, image.dtype)
