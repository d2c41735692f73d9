"""Capsule-forensics: ten small experts look at one face, and the verdict is what their statements agree on.

The idea in three sentences. The first part of a VGG-19 gives maps, and ten primary capsules each make a vector of eight
numbers of their mean and deviation. Dynamic routing weighs each capsule's statement for "real" and for "fake" by how
well it agrees with the sum of all. Each of the four numbers of the two output capsules is a vote, trained by
cross-entropy of its own; the answer is the mean of the votes.

Nguyen, Yamagishi, Echizen: "Capsule-Forensics: Using Capsule Networks to Detect Forged Images and Videos", ICASSP 2019,
arXiv 1810.11215; the ten capsules and VGG-19 are those of arXiv 1910.12467 (from memory). Routing: Sabour et al.,
"Dynamic Routing Between Capsules", NeurIPS 2017, arXiv 1710.09829.

Where it differs from the paper or from DeepfakeBench. The noise on routing weights is the paper's; DeepfakeBench's
copy trains without it (`noise: 0`) and gives cross-entropy votes that went through a softmax already. Squashing is
over each capsule's own numbers; there it is over the capsules. VGG-19 is trained with the rest and votes have no
dropout (the authors: frozen, and 0.05); routing weights start with a deviation of 1 (DeepfakeBench: 0.02).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "Capsule-forensics",
    "paper": "Nguyen et al., ICASSP 2019, arXiv 1810.11215 and arXiv 1910.12467",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "squashing, routing and loss by hand; other layers as in DeepfakeBench; no published weights or tables",
    "small": {"network": "tiny-xception", "size": 32},
}

REST = {  # the steps after the maps that capsules look at
    "vgg-19": tuple(f"features.{n}" for n in range(19, 37)),
    "small-resnet": ("layer3", "layer4"),
    "tiny-xception": ("blocks.1", "act"),
}


class Capsule(Detector):
    """First part of a network, primary capsules, routing; logits are the logarithms of the mean vote."""

    def __init__(
        self,
        network: Literal["vgg-19", "small-resnet", "tiny-xception"] = "vgg-19",
        size: int = 256,
        capsules: int = 10,
        rounds: int = 2,
        noise: float = 0.01,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            rounds: of routing.
            noise: deviation of what is added to the routing weights in training; the paper has it, DeepfakeBench not.
        """
        super().__init__()
        self.body = ConvNet(network, without=REST[network])
        self.input = self.body.input(size)
        self.primary = nn.ModuleList(_Primary(self.body.features) for _ in range(capsules))
        self.statements = nn.Parameter(torch.randn(len(self.classes), capsules, 4, 8))
        self.rounds, self.noise = rounds, noise

    def forward(self, image: Tensor) -> Output:
        features = self._capsules(image)
        return Output(self._votes(features).softmax(2).mean(1).log(), features.flatten(1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"cls": votes_loss(self._votes(self._capsules(batch.image)), batch)}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into the first part, in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _capsules(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, capsules, 8)"""
        maps = self.body(image)
        return squash(torch.stack([capsule(maps) for capsule in self.primary], 1))

    def _votes(self, capsules: Tensor) -> Tensor:
        """(B, capsules, 8) -> (B, 4, classes)"""
        weights: Tensor = self.statements
        if self.training and self.noise:
            weights = weights + self.noise * torch.randn_like(weights)
        said = torch.einsum("kcoi,bci->bkco", weights, capsules)
        return route(said, self.rounds).transpose(1, 2)


def squash(x: Tensor) -> Tensor:
    """|x|^2 / (1 + |x|^2) x / |x| along the last dimension: the direction stays, the length falls below 1; 0 at 0."""
    square = x.square().sum(-1, keepdim=True)
    return (square + 1e-12).sqrt() / (1 + square) * x  # the root alone has no gradient at 0


def route(said: Tensor, rounds: int) -> Tensor:
    """v = squash(sum over capsules of softmax(b) u), and b grows by u v, number by number, between rounds; b = 0 first.

    Agreement is kept for each number of a vector by itself, as in the authors' code, where Sabour et al. have its sum.

    Args:
        said: (B, classes, capsules, D).
    Returns: (B, classes, D)
    """
    agreement = torch.zeros_like(said)
    for n in range(rounds):
        heard = squash((agreement.softmax(2) * said).sum(2))
        if n < rounds - 1:
            agreement = agreement + said * heard[:, :, None]
    return heard


def votes_loss(votes: Tensor, batch: Batch) -> Tensor:
    """Sum over votes of the mean cross-entropy. Args: votes (B, V, K)."""
    return cross_entropy(votes.transpose(0, 1).flatten(0, 1), batch) * votes.shape[1]


class _Primary(nn.Module):
    """(B, C, h, w) -> (B, 8): two convolutions, mean and deviation over places, two convolutions along channels."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def layer(inside: int, out: int) -> list[nn.Module]:
            return [nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

        self.look = nn.Sequential(*layer(width, 64), *layer(64, 16))
        first, second = nn.Conv1d(2, 8, 5, 2, 2, bias=False), nn.Conv1d(8, 1, 3, padding=1, bias=False)
        self.sum_up = nn.Sequential(first, nn.BatchNorm1d(8), second, nn.BatchNorm1d(1))

    def forward(self, maps: Tensor) -> Tensor:
        seen = self.look(maps).flatten(2)
        mean = seen.mean(2)
        deviation = ((seen - mean[:, :, None]).square().sum(2) / max(seen.shape[2] - 1, 1) + 1e-8).sqrt()
        statement: Tensor = self.sum_up(torch.stack([mean, deviation], 1))[:, 0]
        return statement
