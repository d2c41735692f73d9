"""Digits that a CPU learns in seconds: data, views, an encoder, a training loop and probes, for the scripts here.

1,797 images of 8 x 8 (scikit-learn's, from the UCI repository): 1,078 to learn from, 719 to measure on, in one split.
Labels are used to measure, and by those objectives alone that need them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 128  # of the encoder's feature


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (N, 1, 8, 8) in 0..1 and labels, then those to measure on."""
    image, label = load_digits(return_X_y=True)
    image = (image / 16).reshape(-1, 1, 8, 8).astype(np.float32)
    parts = train_test_split(image, label, test_size=0.4, stratify=label, random_state=0)
    train, test, train_label, test_label = (torch.from_numpy(part) for part in parts)
    return train, train_label, test, test_label


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
def features(net: Callable[[Tensor], Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit features and labels of the training images (the bank), then of those to measure on."""
    train_image, train_label, test_image, test_label = digits()
    bank, query = (F.normalize(net(image).flatten(1), dim=1).numpy() for image in (train_image, test_image))
    return bank, train_label.numpy(), query, test_label.numpy()


def knn(net: Callable[[Tensor], Tensor], k: int = 20) -> float:
    """Accuracy of the k nearest by cosine, each with the weight exp(cos / 0.07)."""
    bank, bank_label, query, label = features(net)
    probe = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine")
    return float(probe.fit(bank, bank_label).score(query, label))


def linear(net: Callable[[Tensor], Tensor]) -> float:
    """Accuracy of a logistic regression on unit features, C = 10."""
    bank, bank_label, query, label = features(net)
    return float(LogisticRegression(C=10, max_iter=2000).fit(bank, bank_label).score(query, label))


def effective_rank(net: Callable[[Tensor], Tensor]) -> float:
    """exp of the entropy of the singular values' shares, of centred features (Roy and Vetterli, EUSIPCO 2007)."""
    _, _, query, _ = features(net)
    values = np.linalg.svd(query - query.mean(0), compute_uv=False)
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def spread(numbers: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{statistics.fmean(numbers):.3f} ± {statistics.stdev(numbers):.3f}"
