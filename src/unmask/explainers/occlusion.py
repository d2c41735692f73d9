"""Occlusion: cover a part of the crop, and see how far the score falls.

The idea in three sentences. A grey square is laid over each part of the crop in turn. Where the score falls towards the
other verdict, the detector had looked. It needs nothing of a detector but its score, so it explains any bundle.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901, section 4.2.
"""

from __future__ import annotations

import numpy as np

from unmask.base.explainer import Explainer, Score
from unmask.types import Floats, Pixels

CARD = {
    "title": "Occlusion",
    "paper": "Zeiler and Fergus, ECCV 2014, arXiv 1311.2901",
    "task": "a crop and a score -> by how many logits the score falls where a square covers the crop",
    "licence": "Apache-2.0",
    "verified": "a score that rests on one part of the crop gives a map of that part",
}
GREY = 127


def occlusion(image: Pixels, score: Score, *, grid: int = 8, overlap: float = 2.0) -> Floats:
    """By how much the score falls when a grey square covers each part of the crop.

    Args:
        image: uint8 (S, S, 3).
        score: uint8 (N, S, S, 3) -> (N,).
        grid: squares along a side.
        overlap: side of a square in cells of the grid; at 2 neighbours share half of it, which smooths the map.
    Returns: float32 (grid, grid): score of the crop less that of the crop with the square centred there covered.
    """
    size = image.shape[0]
    cell, half = size / grid, overlap * size / grid / 2
    covered = np.repeat(image[None], grid * grid, axis=0)
    for row in range(grid):
        for column in range(grid):
            y, x = (row + 0.5) * cell, (column + 0.5) * cell
            rows, columns = (slice(max(0, round(c - half)), round(c + half)) for c in (y, x))
            covered[row * grid + column, rows, columns] = GREY
    return np.asarray((score(image[None])[0] - score(covered)).reshape(grid, grid), np.float32)


class Occlusion(Explainer):
    """64 more crops to score at the default grid, about as long as the scan of two videos' frames."""

    def __init__(self, *, grid: int = 8, overlap: float = 2.0) -> None:
        """See `occlusion`."""
        self.grid, self.overlap = grid, overlap

    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        fall = occlusion(image, model, grid=self.grid, overlap=self.overlap)
        return np.maximum(fall if towards_fake else -fall, 0)
