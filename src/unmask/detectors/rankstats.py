"""RankStats-like clustering: two images are of one class where the same features stand out in both.

The idea in three sentences. What is in an image shows in which of its features are largest, even for classes that
nobody has named. So two unlabelled images whose k largest features are the same ones are called a pair of one class,
all others a pair of two, and the classifier learns to answer pairs alike. Labelled images keep their cross-entropy.

Han et al.: "Automatically Discovering and Learning New Visual Categories with Ranking Statistics", ICLR 2020, arXiv
2002.05714. It is a comparison for `cpl`, not a reproduction: one head for known and new classes, where the paper has
two; the same network and entropy as `cpl`; consistency between two views only where the recipe has `views`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output
from unmask.nn.open_world import NeckedClassifier, mean_entropy, slowed_cross_entropy
from unmask.nn.precision import full

CARD = {
    "title": "RankStats-like clustering",
    "paper": "Han et al., ICLR 2020, arXiv 2002.05714",
    "task": "faces by known generators, and unlabelled ones -> known classes and clusters of new ones",
    "evidence": "spatial network",
    "licence": "Apache-2.0; written from the paper's description",
    "verified": "pairs and loss by hand; a comparison for cpl, no published table",
    "small": {"network": "tiny-resnet", "size": 32, "dropout": 0.0},
}


def same_ranks(features: Tensor, k: int = 5) -> Tensor:
    """(B, D) -> (B, B) bool: whether the k largest features of two rows are the same ones, in any order."""
    top = torch.zeros_like(features).scatter(1, features.topk(min(k, features.shape[1]), 1).indices, 1.0)
    return (top @ top.T) >= min(k, features.shape[1]) - 0.5


def pair_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Binary cross-entropy of <p_i, p_j> against `same` (B, B), mean over pairs of different rows."""
    p = full(logits).softmax(1)
    alike = (p @ p.T).clamp(1e-6, 1 - 1e-6)
    other = ~torch.eye(len(p), dtype=torch.bool, device=p.device)
    return F.binary_cross_entropy(alike[other], same[other].to(alike.dtype))


class RankStats(Detector):
    """The network of `cpl`; unlabelled rows learn from pairs by ranking statistics."""

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 256,
        top: int = 5,
        margin: float = 0.0,
        pairs: float = 1.0,
        entropy: float = 1.0,
        consistency: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        """
        Args:
            top: features that must be the same ones.
            margin: that slows named classes down; the paper has none.
            pairs, entropy, consistency: weights of the terms; the last is the squared difference of probabilities
                between an image and the recipe's first view of it.
        """
        super().__init__()
        self.net = NeckedClassifier(network, len(self.classes), dropout)
        self.input = self.net.body.input(size)
        self.top, self.margin, self.weights = top, margin, (pairs, entropy, consistency)

    def forward(self, image: Tensor) -> Output:
        logits, features, _ = self.net(image)
        return Output(logits, features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, _, maps = self.net(batch.image)
        pairs, entropy, consistency = self.weights
        terms = {"cls": slowed_cross_entropy(logits, batch.label, self.margin)}
        unnamed = batch.label < 0
        if unnamed.sum() > 1:
            with torch.no_grad():
                same = same_ranks(maps[unnamed].mean((2, 3)), self.top)
            terms["pairs"] = pairs * pair_loss(logits[unnamed], same)
            terms["entropy"] = -entropy * mean_entropy(logits)
        if batch.views is not None:
            other, *_ = self.net(batch.views[:, 0])
            terms["consistency"] = consistency * F.mse_loss(full(other).softmax(1), full(logits).softmax(1).detach())
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.net.body.load_pretrained(weights)
