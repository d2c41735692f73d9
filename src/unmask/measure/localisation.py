"""Where in an image it was forged: a heat map (higher = more forged) against a mask (1 = forged pixel)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Bools
from unmask.measure.metrics import auroc


@dataclass(frozen=True)
class Overlap:
    """(N,) IoU and F1 of each image. NaN where neither mask nor map marks a pixel: average forged images with
    `np.nanmean`, and report false marks on genuine ones apart (there both are 0)."""

    iou: tuple[float, ...]
    f1: tuple[float, ...]


def pixel_auroc(mask: ArrayLike, heat: ArrayLike) -> float:
    """AUROC over the pixels of all images together, (N, H, W) each: large images and large masks weigh more."""
    m, h = _pictures(mask, heat)
    return auroc(m.ravel(), h.ravel())


def overlap(mask: ArrayLike, heat: ArrayLike, threshold: float) -> Overlap:
    """IoU = |A and B| / |A or B| and F1 = 2 |A and B| / (|A| + |B|), where B is heat >= a threshold fixed elsewhere."""
    m, h = _pictures(mask, heat)
    marked = h >= threshold
    both, either = (m & marked).sum((1, 2)), (m | marked).sum((1, 2))
    iou = np.divide(both, either, out=np.full(len(m), np.nan), where=either > 0)
    return Overlap(tuple(iou.tolist()), tuple((2 * iou / (1 + iou)).tolist()))


def _pictures(mask: ArrayLike, heat: ArrayLike) -> tuple[Bools, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    m, h = np.asarray(mask), np.asarray(heat, np.float64)
    if m.ndim != 3 or m.shape != h.shape:
        raise InputError(f"mask and map must both be (N, H, W), not {m.shape} and {h.shape}: resize the map first")
    for name, wrong in (("mask", (m != 0) & (m != 1)), ("map", np.isnan(h))):
        if wrong.any():
            i = int(np.argmax(wrong.any((1, 2))))
            raise InputError(f"the {name} of image {i} holds a value that cannot be used: masks are 0/1, maps no NaN")
    return m.astype(bool), h
