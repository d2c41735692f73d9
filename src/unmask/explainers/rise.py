"""RISE: cover random parts of the crop, many times, and see where the score rises with what is shown.

The idea in three sentences. A thousand random masks, smooth and soft, each show about half of the crop. A pixel
matters if the score is high when it is shown. The mean of the masks, weighted by their scores, is the map, and it needs
nothing of a detector but its score.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
arXiv 1806.07421. The paper's map is E[score | shown]; here E[score] is subtracted from it, because log-odds have no
zero that means "nothing": the order of the pixels is the paper's.
"""

from __future__ import annotations

import numpy as np

from unmask.base.explainer import Explainer, Score
from unmask.types import Floats, Pixels

CARD = {
    "title": "RISE",
    "paper": "Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421",
    "task": "a crop and a score -> the mean of random masks, weighted by the score of what they show",
    "licence": "Apache-2.0",
    "verified": "masks and weighting by hand; a score that rests on one part of the crop gives a map of that part",
    "small": {"masks": 400, "cells": 4},
}
CHUNK = 64  # masked crops in memory together


def random_masks(count: int, size: int, cells: int, shown: float, rng: np.random.Generator) -> Floats:
    """(count, size, size) in 0..1: grids of `cells` x `cells` zeros and ones, enlarged bilinearly, shifted at random.

    Args:
        shown: probability of a one.
    """
    cell = -(-size // cells)
    grids = (rng.random((count, cells, cells)) < shown).astype(np.float32)
    enlarge = _bilinear(cells, (cells + 1) * cell)
    masks = np.empty((count, size, size), np.float32)
    for mask, grid, (y, x) in zip(masks, grids, rng.integers(0, cell, (count, 2)), strict=True):
        mask[:] = (enlarge @ grid @ enlarge.T)[y : y + size, x : x + size]
    return masks


def weighted(masks: Floats, scores: Floats) -> Floats:
    """E[score | pixel shown] - E[score], (H, W), of masks (N, H, W) and scores (N,)."""
    shown = np.tensordot(scores, masks, 1) / np.maximum(masks.sum(0), 1e-6)
    return np.asarray(shown - scores.mean(), np.float32)


class RISE(Explainer):
    """As many crops to score as there are masks; fewer masks make a noisier map."""

    def __init__(self, *, masks: int = 1000, cells: int = 8, shown: float = 0.5, seed: int = 0) -> None:
        """
        Args:
            masks: how many.
            cells: of a mask, along a side.
            shown: share of the cells that are shown.
            seed: of the masks.
        """
        self.masks, self.cells, self.shown, self.seed = masks, cells, shown, seed

    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        rng = np.random.default_rng(self.seed)
        masks = random_masks(self.masks, image.shape[0], self.cells, self.shown, rng)
        parts = [masks[at : at + CHUNK] for at in range(0, len(masks), CHUNK)]
        scores = np.concatenate([model((part[..., None] * image).round().astype(np.uint8)) for part in parts])
        found = weighted(masks, scores.astype(np.float32))
        return np.maximum(found if towards_fake else -found, 0)


def _bilinear(inside: int, outside: int) -> Floats:
    """(outside, inside): linear interpolation between the centres of cells, flat beyond the outermost ones."""
    at = np.clip((np.arange(outside) + 0.5) * inside / outside - 0.5, 0, inside - 1)
    distance = np.abs(at[:, None] - np.arange(inside)[None])
    return np.asarray(np.maximum(1 - distance, 0), np.float32)
