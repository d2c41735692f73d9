"""A small encoder of digits, their views, a training loop and cosine kNN: what the scripts about objectives share.

Labels are used to measure, and by those objectives alone that need them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from probing import digits
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 128  # of the encoder's feature
Net = Callable[[Tensor], Tensor]


def view(image: Tensor) -> Tensor:
    """Shifted by up to a pixel, turned by up to 15 degrees, scaled by 0.9 .. 1.1, contrast 0.7 .. 1.3, and noise."""
    n = len(image)
    angle = (torch.rand(n) * 2 - 1) * math.pi / 12
    scale, shift = 0.9 + 0.2 * torch.rand(n), (torch.rand(n, 2) * 2 - 1) / 4
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    moved = F.grid_sample(image, F.affine_grid(theta, list(image.shape), align_corners=False), align_corners=False)
    return moved * (0.7 + 0.6 * torch.rand(n, 1, 1, 1)) + 0.1 * torch.randn_like(image)


def encoder() -> nn.Module:
    """64 -> 256 -> 128."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, WIDTH))


class Trial(nn.Module):
    """An objective on this encoder. `step` gives the loss; what must follow an update is in `after`."""

    encoder: nn.Module

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        raise NotImplementedError

    def after(self, done: float) -> None:
        """After each update; `done` is the part of the run that is over."""


def train(
    build: Callable[[], Trial], seed: int, *, steps: int = 140, batch: int = 256, views: int = 2, lr: float = 2e-3
) -> tuple[Trial, float]:
    """Adam from a seed. Returns: the trial, in eval mode, and the mean loss of the last tenth of its steps."""
    torch.manual_seed(seed)
    trial = build()
    image, label, _, _ = digits()
    trained = [p for p in trial.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr)
    losses = []
    torch.manual_seed(seed + 1000)  # two trials of one seed see the same views, whatever their weights drew
    draws = torch.Generator().manual_seed(seed)
    for step in range(steps):
        chosen = torch.randperm(len(image), generator=draws)[:batch]
        loss = trial.loss([view(image[chosen]) for _ in range(views)], label[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        trial.after((step + 1) / steps)
        losses.append(loss.item())
    return trial.eval(), statistics.fmean(losses[-max(1, steps // 10) :])


@torch.no_grad()
def unit_features(net: Net) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit features and labels of the training digits (the bank), then of the test digits."""
    train_image, train_label, test_image, test_label = digits()
    bank, query = (F.normalize(net(image).flatten(1), dim=1) for image in (train_image, test_image))
    return bank, train_label, query, test_label


def knn(net: Net, k: int = 20) -> float:
    """Test accuracy of the k nearest by cosine, each with the weight exp(cos / 0.07)."""
    bank, bank_label, query, label = (x.numpy() for x in unit_features(net))
    probe = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine")
    return float(probe.fit(bank, bank_label).score(query, label))


def effective_rank(net: Net) -> float:
    """exp of the entropy of the singular values' shares, of centred features (Roy and Vetterli, EUSIPCO 2007)."""
    _, _, query, _ = unit_features(net)
    share = torch.linalg.svdvals(query - query.mean(0)).double()
    return float(torch.special.entr(share / share.sum()).sum().exp())
