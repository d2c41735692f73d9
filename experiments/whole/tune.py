"""Tune the truncated network end to end: pairs and families of sources in equal parts, the same way for both classes.

    python -m experiments.whole.tune MATERIAL --start mobilenet_v2.safetensors --out RUN.safetensors --seconds 600
        [--without alkemist --without sd1 ...]

Half of each batch are round trips and their originals under the same degradation; the other half takes a family and
from it a generated and a real image. Sources whose names begin as `--without` says, and round trips made from them, are
left out: what a fold is. The budget is processor time of one thread. Statistics of normalisation stay ImageNet's, so
that small parts of a batch can be worked off one after the other; the head begins as a least-squares fit.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.whole.degrade import SIDE, degrade
from experiments.whole.material import Row, read
from experiments.whole.sources import FAMILIES, begins
from unmask.base.predict import predict
from unmask.detectors.patch_forensics import PatchForensics
from unmask.types import Floats, Pixels

BATCH, PART, TILE = 32, 8, 112
RATE, DECAY, WARM = 4e-4, 0.02, 30
RIDGE = 0.3  # of the standardised features' variance
SHARES = {"upsample": 0.12, "taef2": 0.38}  # of the draws; the rest are families


@dataclass
class Material:
    """Rows and crops, without what a fold leaves out."""

    rows: list[Row]
    crops: list[Pixels]  # one memory-mapped image each

    @staticmethod
    def open(folder: Path, without: tuple[str, ...]) -> Material:
        rows, crops = [], []
        for part in ("train", "pairs"):
            pixels = np.load(folder / f"{part}.npy", mmap_mode="r")
            for row, crop in zip(read(folder / f"{part}.csv"), pixels, strict=True):
                if not begins(row.source, without):
                    rows.append(row)
                    crops.append(crop)
        return Material(rows, crops)

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(32, 3, 112, 112) in 0..1 and labels (32,)."""
        tiles: list[Floats] = []
        while len(tiles) < BATCH:
            seed = int(rng.integers(2**62))
            tiles += [_jitter(degrade(np.asarray(crop), seed), seed) for crop in self._draw(rng)]
        label = torch.arange(BATCH) % 2  # a real one, then a fake one
        return torch.from_numpy(np.stack(tiles).transpose(0, 3, 1, 2).copy()), label

    def _draw(self, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        kind = rng.choice([*SHARES, "families"], p=[*SHARES.values(), 1 - sum(SHARES.values())])
        if kind in SHARES and (pairs := self._members(f"{kind}@")):
            first = pairs[int(rng.integers(len(pairs) // 2)) * 2]
            return self.crops[first], self.crops[first + 1]
        families = [f for f in FAMILIES.values() if all(self._present(names) for names in f)]
        fake, real = families[int(rng.integers(len(families)))]
        return self._one(real, rng), self._one(fake, rng)

    def _one(self, names: tuple[str, ...], rng: np.random.Generator) -> Pixels:
        present = self._present(names)
        members = self._members(present[int(rng.integers(len(present)))])
        return self.crops[members[int(rng.integers(len(members)))]]

    def _present(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if self._members(name)]

    def _members(self, name: str) -> list[int]:
        if not hasattr(self, "_index"):
            self._index: dict[str, list[int]] = {}
            for i, row in enumerate(self.rows):
                for key in {row.source, row.source.split("@")[0] + "@" if "@" in row.source else row.source}:
                    self._index.setdefault(key, []).append(i)
        return self._index.get(name, [])


def _jitter(tile: Pixels, seed: int) -> Floats:
    """A part of the tile, its brightness and contrast changed; values in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = (int(v) for v in rng.integers(0, SIDE - TILE + 1, 2))
    part = tile[y : y + TILE, x : x + TILE].astype(np.float32) / 255
    return np.asarray((part * rng.uniform(0.85, 1.15) + rng.uniform(-0.05, 0.05)).clip(0, 1), np.float32)


def least_squares(detector: PatchForensics, x: Floats, label: NDArray[np.int64]) -> None:
    """Standardisation and head from features (N, D) that are not standardised yet: ridge on labels of -1 and 1."""
    mean, variance = x.mean(0), x.var(0)
    z = (x - mean) / np.sqrt(variance + detector.standardise.eps)
    gram = z.T @ z / len(z) + RIDGE * np.eye(z.shape[1], dtype=z.dtype)
    weight = np.linalg.solve(gram, z.T @ (2 * label - 1) / len(z))
    weight *= 1.5 / (z @ weight).std()  # about the spread of log-odds that the data support
    with torch.no_grad():
        detector.standardise.running_mean.copy_(torch.from_numpy(mean))  # type: ignore[union-attr]
        detector.standardise.running_var.copy_(torch.from_numpy(variance))  # type: ignore[union-attr]
        half = torch.from_numpy(weight / 2).float()
        detector.head.weight.copy_(torch.stack([-half, half]))
        detector.head.bias.zero_()


def tune(detector: PatchForensics, material: Material, seconds: float) -> dict[str, Tensor]:
    """Returns: the running mean of the weights."""
    optimizer = torch.optim.AdamW(detector.parameters(), RATE, weight_decay=DECAY)
    mean = {k: v.clone() for k, v in detector.state_dict().items()}
    start, losses, step = time.process_time(), [], 0
    while (done := (time.process_time() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM) * (0.03 + 0.97 * (1 + math.cos(math.pi * done)) / 2)
        image, label = material.batch(np.random.default_rng(10**6 + step))
        detector.train()
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eval()
        optimizer.zero_grad()
        for x, y in zip(image.split(PART), label.split(PART), strict=True):
            loss = F.cross_entropy(detector(x.contiguous(memory_format=torch.channels_last)).logits, y)
            (loss * PART / BATCH).backward()
            losses.append(loss.item())
        nn.utils.clip_grad_norm_(detector.parameters(), 2.0)
        optimizer.step()
        step += 1
        keep = min(0.99, (step + 1) / (step + 10))
        for k, v in detector.state_dict().items():
            if v.is_floating_point():
                mean[k].mul_(keep).add_(v, alpha=1 - keep)
        if step % 20 == 0:
            print(f"step {step}: cross-entropy {np.mean(losses[-160:]):.4f}", flush=True)
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.whole.tune", description=__doc__.splitlines()[0])
    parser.add_argument("material", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="torchvision's MobileNetV2, as safetensors")
    parser.add_argument("--without", action="append", default=[], help="sources that are left out begin so")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector = PatchForensics()
    detector.load_pretrained(asked.start)
    material = Material.open(asked.material, tuple(asked.without))
    some = np.random.default_rng(0).permutation(len(material.rows))[:6000]
    tiles = np.stack([degrade(np.asarray(material.crops[i]), int(i)) for i in some])
    raw = predict(detector.eval(), tiles).features  # of a fresh standardisation: mean 0, variance 1
    least_squares(detector, raw, np.array([material.rows[i].label == "fake" for i in some], np.int64))
    save_file({k: v.contiguous() for k, v in tune(detector, material, asked.seconds).items()}, asked.out)


if __name__ == "__main__":
    main()
