"""What one step of training sees: pairs of a real face and a forgery of it, both changed alike on the way.

A pair shares person, camera, light, compression and augmentation, so that the forgery is all that tells its halves
apart; and every batch holds as many real faces as fake ones of each source.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from unmask.data.augment import place, together
from unmask.data.crops import Crops
from unmask.data.manifest import Split
from unmask.generators.sbi import self_blend
from unmask.nouns import InputSpec, Pixels


class Pairs(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches: uint8 (2 * sum(counts), 3, S, S) and labels, real faces first.

    Args:
        counts: pairs of each kind in a batch. "swap": DFDC's real and its own fake; "blend": a real face of any set and
            itself blended; "gan": a photograph and a StyleGAN face (no pair exists; the two share format and draw).
        start: the batch to begin with; the n-th batch of a seed is always the same one.
    """

    def __init__(self, crops: Crops, spec: InputSpec, counts: dict[str, int], seed: int, start: int = 0) -> None:
        self.crops, self.spec, self.counts, self.seed, self.start = crops, spec, counts, seed, start
        rows = crops.rows
        place_of = {r.path: i for i, r in enumerate(rows)}
        train = [i for i, r in enumerate(rows) if r.split == "train"]
        self.swaps = [(place_of[rows[i].real], i) for i in train if rows[i].real in place_of]  # type: ignore[index]
        # The many actors of DFDC stand in few rooms; the three other sets bring all sorts of people and cameras.
        self.reals = [[i for i in train if not rows[i].label and rows[i].set == s] for s in _real_sets(crops, train)]
        self.gan = [[i for i in train if rows[i].set == "140k_stylegan256" and rows[i].label == k] for k in (0, 1)]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        cv2.setNumThreads(1)
        n = self.start
        while True:
            yield self.batch(np.random.default_rng((self.seed, n)))
            n += 1

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        makers = {"swap": self.swap, "blend": self.blend, "gan": self.synthetic}
        pairs = [makers[kind](rng) for kind, count in self.counts.items() for _ in range(count)]
        images = [p[0] for p in pairs] + [p[1] for p in pairs]
        labels = torch.tensor([0] * len(pairs) + [1] * len(pairs))
        return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), labels

    def swap(self, rng: np.random.Generator) -> list[Pixels]:
        real, fake = self.swaps[rng.integers(len(self.swaps))]
        return together([self.crops.pixels[real], self.crops.pixels[fake]], self.spec, rng)

    def blend(self, rng: np.random.Generator) -> list[Pixels]:
        among = self.reals[rng.integers(len(self.reals))]
        i = among[rng.integers(len(among))]
        real = np.array(self.crops.pixels[i])
        return together([real, self_blend(real, self.crops.mesh[i], rng)[0]], self.spec, rng)

    def synthetic(self, rng: np.random.Generator) -> list[Pixels]:
        return together([self.crops.pixels[g[rng.integers(len(g))]] for g in self.gan], self.spec, rng)


def _real_sets(crops: Crops, train: list[int]) -> list[str]:
    """DFDC twice: half of the self-blended faces come from it."""
    others = sorted({crops.rows[i].set for i in train} - {"dfdc_faces224"})
    return ["dfdc_faces224"] * max(1, len(others)) + others


def fixed(
    crops: Crops, split: Split, spec: InputSpec, sets: tuple[str, ...]
) -> tuple[Pixels, NDArray[np.int64], list[str]]:
    """All crops of some sets and a split as a detector sees them in use: no augmentation.

    Returns: uint8 (N, S, S, 3), labels (N,), leakage groups.
    """
    chosen = [i for i, r in enumerate(crops.rows) if r.split == split and r.set in sets]
    pixels = np.stack([place(np.array(crops.pixels[i]), spec) for i in chosen])
    return pixels, np.array([crops.rows[i].label for i in chosen]), [crops.rows[i].group for i in chosen]


def blended(
    crops: Crops, split: Split, spec: InputSpec, sets: tuple[str, ...], seed: int
) -> tuple[Pixels, NDArray[np.int64]]:
    """Real faces of a split and one degraded self-blend of each: validation for forgers never seen."""
    chosen = [i for i, r in enumerate(crops.rows) if r.split == split and r.set in sets and not r.label]
    images: list[Pixels] = []
    for i in chosen:
        rng = np.random.default_rng((seed, i))
        real = np.array(crops.pixels[i])
        images += together([real, self_blend(real, crops.mesh[i], rng)[0]], spec, rng)
    return np.stack(images), np.tile([0, 1], len(chosen))
