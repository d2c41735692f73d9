"""Colours of one face given to another."""

from __future__ import annotations

import cv2
import numpy as np

from unmask.types import Floats, Pixels


def transferred(source: Pixels, target: Pixels, weight: Floats) -> Pixels:
    """The source with mean and deviation of each Lab channel, within the weight, as the target has them there.

    Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001, equations 10 and 11, in CIE Lab.

    Args:
        source, target: uint8 (H, W, 3).
        weight: (H, W) >= 0, where colours are compared; not all zero.
    Returns: uint8 (H, W, 3), recoloured in the box that holds the weight; beyond it the source.
    """
    x, y, wide, high = cv2.boundingRect((weight > 0).astype(np.uint8))
    box = (slice(y, y + high), slice(x, x + wide))
    share = (weight[box] / weight.sum()).astype(np.float32).ravel()
    have, want = (
        np.asarray(cv2.cvtColor(p[box].astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
        for p in (source, target)
    )
    (mean, spread), (wanted_mean, wanted_spread) = _moments(have, share), _moments(want, share)
    moved = (have - mean) * (wanted_spread / np.maximum(spread, 1e-3)) + wanted_mean
    rgb = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB)
    out = source.copy()
    out[box] = (rgb * 255).round().clip(0, 255)
    return out


def _moments(lab: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of (H, W, 3) under shares (H * W,) that sum to 1."""
    pixels = lab.reshape(-1, 3)
    mean = share @ pixels
    return mean, np.sqrt(share @ np.square(pixels - mean))
