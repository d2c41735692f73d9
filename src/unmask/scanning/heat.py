"""Where a verdict comes from: occlusion (Zeiler and Fergus 2014), which needs nothing of a detector but its score.

A grey square is laid over each part of the crop in turn. Where the margin falls towards the other verdict, the detector
had looked. The map says what the detector used, not what was changed in the picture.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from unmask.types import Floats, Pixels

GRID = 8  # squares along a side; 64 more crops to score, about as long as the scan of two clips' frames
OVERLAP = 2.0  # side of a square in cells: neighbours share half of it, which smooths the map
FAINT = 0.5  # logits: a map whose strongest square moves the margin by less is shown as faintly as it is
_GREY = 127


def occlusion(crop: Pixels, margins: Callable[[Pixels], Floats], towards_fake: bool) -> Floats:
    """How much each part of the crop holds the verdict up.

    Args:
        crop: uint8 (size, size, 3).
        margins: uint8 (N, size, size, 3) -> (N,) logit(fake) - logit(real).
        towards_fake: which verdict is explained.
    Returns: (GRID, GRID) float32 >= 0: by how many logits the margin falls when the square centred there is covered.
    """
    size = crop.shape[0]
    cell, half = size / GRID, OVERLAP * size / GRID / 2
    covered = np.repeat(crop[None], GRID * GRID, axis=0)
    for row in range(GRID):
        for column in range(GRID):
            y, x = (row + 0.5) * cell, (column + 0.5) * cell
            rows, columns = (slice(max(0, round(c - half)), round(c + half)) for c in (y, x))
            covered[row * GRID + column, rows, columns] = _GREY
    fall = margins(crop[None])[0] - margins(covered)
    return np.asarray(np.maximum(fall if towards_fake else -fall, 0).reshape(GRID, GRID), np.float32)


def overlay(crop: Pixels, heat: Floats) -> Pixels:
    """The crop with its strongest parts in red: uint8 (size, size, 3)."""
    size = crop.shape[0]
    strength = Image.fromarray(heat / max(float(heat.max()), FAINT)).resize((size, size), Image.Resampling.BICUBIC)
    alpha = 0.65 * np.clip(np.asarray(strength), 0, 1)[..., None]
    grey = crop.mean(axis=2, keepdims=True)  # without its own colours, red can only mean heat
    return np.asarray((1 - alpha) * grey + alpha * np.array([230.0, 40.0, 30.0])).round().astype(np.uint8)


def jpeg(picture: Pixels) -> bytes:
    """The picture (H, W, 3) as JPEG bytes for a report."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=88)
    return out.getvalue()
