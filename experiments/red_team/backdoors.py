"""Two triggers, clean and poisoned networks, four defences, on digits: what each defence finds, and what it invents.

    python experiments/red_team/backdoors.py --out docs/tables/red-team-backdoors.md

A small network on digits of 32 x 32; 5 % of the training images of other classes carry the trigger and the label 0.
ASR: triggered test digits of other classes called 0, beside the same on a network that was never poisoned (the floor).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.attacks.trigger_inversion import invert
from unmask.imageops.triggers import TRIGGERS
from unmask.measure.backdoor import activation_clusters, anomaly_index, spectral_signature

TARGET, SHARE, SEEDS = 0, 0.05, (0, 1, 2)


def digits() -> tuple[Tensor, Tensor]:
    """(N, 3, 32, 32) in 0..1 and labels."""
    found = load_digits()
    small = torch.from_numpy(found.images).float()[:, None] / 16
    return F.interpolate(small, (32, 32), mode="bilinear").expand(-1, 3, -1, -1).clamp(0, 1), torch.from_numpy(
        found.target
    )


def triggered(image: Tensor, name: str) -> Tensor:
    put, strength = TRIGGERS[name]
    pixels = (image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    made = np.stack([put(np.ascontiguousarray(one), strength) for one in pixels])
    return torch.from_numpy(made).permute(0, 3, 1, 2).float() / 255


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
        self.body, self.head = nn.Sequential(*layers, nn.Linear(2048, 64), nn.ReLU()), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def train(net: Net, image: Tensor, label: Tensor, steps: int, rate: float = 1e-3) -> Net:
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        some = torch.randint(0, len(image), (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(image[some]), label[some]).backward()
        optimizer.step()
    return net


@torch.no_grad()
def measured(net: Net, image: Tensor, label: Tensor, trigger: str) -> tuple[float, float]:
    """Clean accuracy, and triggered images of other classes called the target."""
    others = image[label != TARGET]
    hit = (net(triggered(others, trigger)).argmax(1) == TARGET).float().mean()
    return float((net(image).argmax(1) == label).float().mean()), float(hit)


def defences(net: Net, image: Tensor, label: Tensor, poisoned: NDArray[np.bool_]) -> dict[str, str]:
    with torch.no_grad():
        features = net.body(image).numpy()
    y, count = label.numpy(), int(1.5 * SHARE * len(label))
    top = np.argsort(-spectral_signature(features, y))[:count]
    smaller, compact = activation_clusters(features, y)
    of = y == TARGET
    suspected = smaller & of
    norms = []
    frozen = net.requires_grad_(False)
    for kind in range(10):
        some = image[label != kind][:64]
        mask, _ = invert(frozen, some, torch.full((len(some),), kind), steps=150)
        norms.append(float(mask.sum()))
    net.requires_grad_(True)
    index = anomaly_index(norms)
    share = f"{poisoned[top].sum() / max(1, poisoned.sum()):.2f}" if poisoned.any() else "-"
    found = f"{(suspected & poisoned).sum() / max(1, poisoned.sum()):.2f}" if poisoned.any() else "-"
    lost = f"{(suspected & ~poisoned).sum() / (of & ~poisoned).sum():.2f}"
    return {
        "spectral: poison removed": share,
        "clusters: poison found": found,
        "clusters: clean rows lost": lost,
        "silhouette of class 0": f"{compact[of][0]:.2f}",
        "inversion: index of class 0": f"{index[TARGET]:.1f}",
        "inversion: others above 2": f"{(np.delete(index, TARGET) > 2).sum()}",
    }


def one(trigger: str, seed: int, poison: bool) -> dict[str, str]:
    torch.manual_seed(seed)
    image, label = digits()
    order = torch.randperm(len(image))
    fit, held, test = order[:1000], order[1000:1200], order[1200:]
    x, y = image[fit].clone(), label[fit].clone()
    bad = np.zeros(len(x), bool)
    if poison:
        chosen = torch.where(y != TARGET)[0][: int(SHARE * len(x))]
        x[chosen], y[chosen], bad[chosen.numpy()] = triggered(x[chosen], trigger), TARGET, True
    net = train(Net(), x, y, 400)
    accuracy, asr = measured(net, image[test], label[test], trigger)
    row = {"trigger": trigger, "network": "poisoned" if poison else "clean", "seed": str(seed)}
    row |= {"accuracy": f"{accuracy:.3f}", "ASR": f"{asr:.2f}"} | defences(net, x, y, bad)
    train(net, image[held], label[held], 100)
    after = measured(net, image[test], label[test], trigger)
    return row | {"fine-tuned: accuracy, ASR": f"{after[0]:.3f}, {after[1]:.2f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    rows = [one(t, s, p) for t in ("badnets", "blended") for p in (True, False) for s in SEEDS]
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(r.values()) + " |" for r in rows]
    out.write_text(f"# Backdoors on digits\n\n{__doc__.split(chr(10) * 2)[2]}\n\n" + "\n".join(lines) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
