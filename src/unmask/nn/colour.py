"""Colours of one face given to another."""

from __future__ import annotations

import cv2
import numpy as np

from unmask.nouns import Floats, Pixels


def transferred(source: Pixels, target: Pixels, weight: Floats) -> Pixels:
    """The source with mean and deviation of each Lab channel, within the weight, as the target has them there.

    Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001, equations 10 and 11, in CIE Lab.

    Args:
        source, target: uint8 (H, W, 3).
        weight: (H, W) >= 0, where colours are compared; not all zero.
    """
    have, want = (
        np.asarray(cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32) for p in (source, target)
    )
    (mean, spread), (wanted_mean, wanted_spread) = _moments(have, weight), _moments(want, weight)
    moved = (have - mean) * (wanted_spread / np.maximum(spread, 1e-3)) + wanted_mean
    rgb = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.asarray((rgb * 255).round().clip(0, 255), np.uint8)


def _moments(lab: Floats, weight: Floats) -> tuple[Floats, Floats]:
    share = (weight / weight.sum())[..., None]
    mean = (lab * share).sum((0, 1))
    return mean, np.sqrt((np.square(lab - mean) * share).sum((0, 1)))
