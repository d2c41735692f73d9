"""SelfCon against SupCon from one view and plain cross-entropy, each generator left out once.

    python experiments/detectors/selfcon_contrast.py --held RESULTS.json --out docs/tables/selfcon-contrast.md

Images are smooth random textures with noise of a sensor; three generators enlarge smaller ones, each in its own way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from small import answers, auroc_of, held, interval, mean, page, train
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch, cross_entropy
from unmask.detectors.selfcon import SelfCon, tracks
from unmask.nn.contrastive import selfcon_loss

SIDE, STEPS, SEEDS, KINDS = 32, 80, 3, ("SelfCon", "SupCon, one view", "cross-entropy")
GENERATORS = ("nearest", "bilinear", "transposed")


class SupCon(SelfCon):
    """The last exit alone."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert self.exits is not None
        early, late = self.exits.features(self.body, batch.image)
        last = [self.exits(early, late)[1]]
        origin, family = tracks(batch, self.classes)
        terms = {"cls": cross_entropy(self.classifier(late.detach()), batch)}
        return terms | {"origin": selfcon_loss(last, origin), "family": selfcon_loss(last, family)}


class Plain(SelfCon):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"cls": cross_entropy(self(batch.image).logits, batch)}


def drawn(n: int, seed: int, generators: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 3, S, S), half of them real, labels, and which of the generators."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 8, 8, generator=draw)
    smooth = F.interpolate(coarse, size=SIDE, mode="bicubic").clamp(0, 1)
    noise = 0.05 * torch.randn(n, 3, SIDE, SIDE, generator=draw)
    label, made = torch.arange(n) % 2, torch.arange(n) // 2 % len(generators)
    small = F.avg_pool2d(smooth + noise, 2)
    ways = {
        "nearest": F.interpolate(small, scale_factor=2.0, mode="nearest"),
        "bilinear": F.interpolate(small, scale_factor=2.0, mode="bilinear"),
        "transposed": F.conv_transpose2d(small, torch.eye(3)[:, :, None, None] * torch.tensor(
            [[1.1, 0.95], [0.95, 1.0]]), stride=2),
    }  # fmt: skip
    fake = torch.stack([ways[g] for g in generators])[made, torch.arange(n)]
    image = torch.where(label.view(-1, 1, 1, 1) > 0, fake, smooth + noise)
    return (image + 0.02 * torch.randn(image.shape, generator=draw)).clamp(0, 1), label, made


def run(kind: str, left_out: str, seed: int) -> float:
    torch.manual_seed(seed)
    seen = tuple(g for g in GENERATORS if g != left_out)
    image, label, made = drawn(600, seed, seen)
    of = {"SelfCon": SelfCon, "SupCon, one view": SupCon, "cross-entropy": Plain}[kind]
    detector = of("tiny-resnet", SIDE, hidden=64, dim=32, dropout=0.0)
    rng = np.random.default_rng(seed)

    def draw() -> Batch:
        rows = torch.from_numpy(rng.choice(len(image), 48, replace=False))
        return Batch(image[rows], label[rows], method=made[rows])

    train(detector, draw, STEPS)
    other, truth, _ = drawn(300, 1000 + seed, (left_out,))
    return auroc_of(answers(detector, other), truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    found = {
        kind: [
            float(
                np.mean([held(told.held, f"{kind} {g} {s}", lambda k=kind, g=g, s=s: run(k, g, s)) for g in GENERATORS])
            )
            for s in range(SEEDS)
        ]
        for kind in KINDS
    }
    plain = found["cross-entropy"]
    rows = [
        (
            k,
            mean(found[k]),
            "" if k == "cross-entropy" else interval([a - b for a, b in zip(found[k], plain, strict=True)]),
        )
        for k in KINDS
    ]
    said = f"""
Synthetic textures of {SIDE} pixels, half of them enlarged by one of two generators (600 to learn from, {STEPS} batches
of 48), tested on the third (300 images), each left out once, {SEEDS} seeds. One very small ResNet (random weights),
equal steps. AUROC on the generator left out, mean over the three; mean (least to most) over seeds, and the paired
difference from cross-entropy with its 95 % interval.
"""
    command = f"python experiments/detectors/selfcon_contrast.py --held selfcon.json --out {told.out}"
    page(
        told.out,
        "SelfCon against SupCon and cross-entropy",
        said,
        command,
        ("loss", "AUROC", "beyond cross-entropy"),
        rows,
    )


if __name__ == "__main__":
    main()
