"""What methods share that sort unlabelled images into known and new classes: their network, and terms of their losses.

A label of -1 says that nobody has named the image's class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.convnets import ConvNet
from unmask.nn.precision import full


class NeckedClassifier(nn.Module):
    """Maps of a network, their mean through a batch norm without bias ("BN neck"), dropout, a linear head.

    Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW 2019.
    """

    def __init__(self, network: str, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.body = ConvNet(network)
        self.neck = nn.BatchNorm1d(self.body.features)
        self.neck.bias.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.features, classes, bias=False)
        nn.init.normal_(self.head.weight, std=1e-3)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> logits (B, K), features (B, D), maps (B, D, h, w)."""
        maps = self.body(image)
        features = self.neck(maps.mean((2, 3)))
        return self.head(self.dropout(features)), features, maps


def slowed_cross_entropy(logits: Tensor, label: Tensor, margin: float = 0.2) -> Tensor:
    """Cross-entropy of labelled rows, the logit of the true class raised by `margin`; 0 without labelled rows.

    Known classes are so learnt more slowly, and new ones keep up (ORCA, Cao et al., ICLR 2022).

    Args:
        logits: (B, K). label: (B,), -1 = unlabelled.
    """
    named = label >= 0
    if not named.any():
        return logits.sum() * 0
    z, y = logits[named], label[named]
    return F.cross_entropy(z + margin * F.one_hot(y, z.shape[1]), y)


def mean_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the mean probability over the batch, 0..log K: high where no class takes all rows."""
    p = full(logits).softmax(1).mean(0)
    return -(p * p.clamp_min(1e-12).log()).sum()


def same_class(logits: Tensor, partner: Tensor) -> Tensor:
    """-mean log <p_i, p_partner(i)>: how unlikely it is that each row and its partner are of one class.

    Args:
        logits: (B, K). partner: (B,) row of each one's partner.
    """
    p = full(logits).softmax(1)
    return -(p * p[partner]).sum(1).clamp_min(1e-12).log().mean()


def nearest(features: Tensor) -> Tensor:
    """(B, D) -> (B,): the row of each one's nearest other, by cosine."""
    z = F.normalize(full(features), dim=1)
    cosine = z @ z.T
    return cosine.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf).argmax(1)


def labelled_partner(label: Tensor) -> Tensor:
    """(B,) -> (B,): for each labelled row another one of its class by chance, itself where it is alone."""
    same = (label[:, None] == label[None]) & (label >= 0)[:, None]
    same.fill_diagonal_(False)
    chance = torch.rand(same.shape, device=label.device) * same
    alone = ~same.any(1)
    return torch.where(alone, torch.arange(len(label), device=label.device), chance.argmax(1))
