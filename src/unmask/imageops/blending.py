"""How one image is put into another: masks with bent and soft edges, the blend, and Poisson's seamless one."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.types import Floats, Pixels

T = TypeVar("T", np.uint8, np.float32)


def blend(target: Pixels, source: Pixels, alpha: Floats) -> Pixels:
    """target + alpha (source - target), rounded.

    Args:
        target, source: uint8 (H, W, 3).
        alpha: (H, W) in 0..1, the source's share.
    """
    mixed = target + alpha[..., None] * (source.astype(np.float32) - target)
    return mixed.round().clip(0, 255).astype(np.uint8)


def poisson(target: Pixels, source: Pixels, mask: Floats) -> Pixels:
    """The source's gradients inside the mask, met with the target's colours at its edge.

    Pérez, Gangnet and Blake, "Poisson Image Editing", SIGGRAPH 2003, equation 4; the solver is OpenCV's. Outside the
    mask the target's pixels stay what they are, bitwise.

    Args:
        mask: (H, W), source above one half; the image's rim is never part of it.
    """
    inside = (mask > 0.5).astype(np.uint8)
    inside[[0, -1]] = inside[:, [0, -1]] = 0
    if not inside.any():
        return target.copy()
    x, y, wide, high = cv2.boundingRect(inside)
    cloned = cv2.seamlessClone(source, target, inside * 255, (x + wide // 2, y + high // 2), cv2.NORMAL_CLONE)
    return np.where(inside[..., None] > 0, np.asarray(cloned, np.uint8), target)


def blur(mask: Floats, sigma: float) -> Floats:
    """Gaussian, sigma in pixels."""
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def bend(image: NDArray[T], rng: np.random.Generator, reach: float, smooth: float) -> NDArray[T]:
    """Move each pixel by a smooth random field of at most about `reach` pixels."""
    side = image.shape[0]
    grid = max(3, round(side / smooth / 2))
    coarse = rng.uniform(-reach, reach, (grid, grid, 2)).astype(np.float32)
    field = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    bent = cv2.remap(image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(bent, image.dtype)


def soften(mask: Floats, rng: np.random.Generator) -> Floats:
    """Bend the outline, then widen or narrow it and blur its edge: two blurs with a threshold between them."""
    side = mask.shape[0]
    mask = bend(mask, rng, side * 0.04, side * 0.06)
    if rng.random() < 0.3:  # some forgery methods leave a hard edge
        return blur(mask, 0.7)
    mask = blur(mask, side * rng.uniform(0.01, 0.05))
    mask = blur((mask > rng.uniform(0.2, 0.8) * mask.max()).astype(np.float32), side * rng.uniform(0.005, 0.045))
    return mask / max(float(mask.max()), 1e-6)  # a small part must not fade away
