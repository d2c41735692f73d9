"""Do LSDA's augmentations widen what a detector takes for forged? A toy whose answer is known, in a minute on one core.

    python benchmarks/latent.py

Real faces and four kinds of forgeries are normal clusters in 48 dimensions, along axes of their own. A fifth kind,
which training never sees, lies between two of the others, or beyond one of them, or along an axis that none has. The
detector is LSDA with small fully connected networks in place of its convolutions, everything else as it is. Arms: both
augmentations, one of them, none (the student is distilled all the same), and cross-entropy alone. Printed: mean AUROC
of real against the unseen kind over the seeds, and in how many of them each arm beats "none", with the two-sided sign
test.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from unmask.base.detector import Batch
from unmask.detectors.lsda import LSDA
from unmask.measure.metrics import auroc

SHAPE, WIDTH, KINDS = (3, 4, 4), 32, 4  # a "image", the real teacher's channels, kinds in training
STEPS, GROUPS, RATE, DISTANCE = 300, 8, 2e-3, 3.0
ARMS: dict[str, dict[str, bool | float]] = {
    "within and across": {},
    "within": {"across": False},
    "across": {"within": False},
    "none": {"within": False, "across": False},
    "cross-entropy": {"distil": 0.0, "domain": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser("python benchmarks/latent.py", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    found = {arm: np.array([trained(seed, options) for seed in range(seeds)]) for arm, options in ARMS.items()}
    places = ("between", "beyond", "aside")
    print("| | " + " | ".join(places) + " |\n|---|" + "---|" * len(places))
    for arm, areas in found.items():
        cells = []
        for n in range(len(places)):
            cells.append(f"{100 * areas[:, n].mean():.1f}")
            wins, losses = (int(x.sum()) for x in _against(areas[:, n], found["none"][:, n]))
            if arm != "none" and wins + losses:
                cells[-1] += f" (better in {wins} of {seeds}, p = {binomtest(wins, wins + losses).pvalue:.2g})"
        print(f"| {arm} | " + " | ".join(cells) + " |", flush=True)


def trained(seed: int, options: dict[str, bool | float]) -> list[float]:
    """AUROC of real against the unseen kind at each of its places."""
    torch.manual_seed(seed)
    detector = LSDA("tiny-resnet", "tiny-iresnet", domains=KINDS, **options)  # type: ignore[arg-type]
    detector.real = _Teacher()  # type: ignore[assignment]
    detector.student, detector.forged = network(), nn.ModuleList(network() for _ in range(KINDS))
    optimiser = torch.optim.AdamW([p for p in detector.parameters() if p.requires_grad], RATE)
    label = torch.tensor([0, *[1] * KINDS]).repeat(GROUPS)
    detector.train()
    for _ in range(STEPS):
        person = torch.randn(GROUPS, 1, 48)  # real face and forgeries of a group share who it is
        picture = 0.7 * person + 0.7 * torch.randn(GROUPS, KINDS + 1, 48) + centres()
        terms = detector.loss(Batch(picture.view(-1, *SHAPE), label))
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    detector.eval()
    kinds = centres()
    aside = torch.zeros(48)
    aside[KINDS + 1] = DISTANCE
    return [against_real(detector, c) for c in ((kinds[1] + kinds[2]) / 2, 1.5 * kinds[1], aside)]


def against_real(detector: LSDA, centre: Tensor, n: int = 1000) -> float:
    with torch.no_grad():
        x = torch.randn(2 * n, 48) + torch.cat([torch.zeros(n, 48), centre.expand(n, 48)])
        logits = detector(x.view(-1, *SHAPE)).logits
    return auroc(np.repeat([0, 1], n), (logits[:, 1] - logits[:, 0]).numpy())


def centres() -> Tensor:
    """(1 + KINDS, 48): the real faces' at 0, each kind's on an axis of its own."""
    return torch.cat([torch.zeros(1, 48), DISTANCE * torch.eye(48)[1 : KINDS + 1]])


def network() -> nn.Sequential:
    """(B, 3, 4, 4) -> (B, WIDTH, 1, 1)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, WIDTH), nn.Unflatten(1, (WIDTH, 1, 1))
    )


class _Teacher(nn.Module):
    """Of real faces: fixed, and knows of an image who it is, which is what the axes of no forgery say."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(48 - KINDS - 2, WIDTH).requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.map(image.flatten(1)[:, KINDS + 2 :])[..., None, None]
        return maps


def _against(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return one > other, one < other


if __name__ == "__main__":
    main()
