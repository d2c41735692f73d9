"""SepCLR: one code for what real and fake faces share, another for what the fakes alone have.

The idea in three sentences. Two encoders look at background images (real) and target images (fake): the common code is
learnt from all of them, the salient code from the targets, while every background image must have the null vector.
Both maximise mutual information with the image by alignment and uniformity. The joint entropy of the two codes, by a
kernel estimate, is maximised too, so that neither repeats what the other says.

Louiset et al.: "Separating Common from Salient Patterns with Contrastive Representation Learning", ICLR 2024,
arXiv 2402.11928. Weights are those of the authors' scripts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.errors import InputError
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head
from unmask.nn.hypersphere import kernel_entropy, uniformity
from unmask.nn.precision import full

CARD = {
    "title": "SepCLR (common and salient codes)",
    "paper": "Louiset et al., ICLR 2024, arXiv 2402.11928",
    "task": "two views of real and fake images -> a code of both, and one of the fakes alone",
    "licence": "Apache-2.0; the authors' code has no licence, formulas only",
    "verified": "terms by hand and by loops, gradients to background images; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 32, "codes": (8, 8), "hidden": 16},
}


def sepclr_terms(common: Tensor, salient: Tensor, target: Tensor, temperature: float = 0.5) -> dict[str, Tensor]:
    """The four terms, not weighted; the paper's total is common + 1000 salient + 1000 null + 10 joint.

        common   alignment of all images + uniformity of all
        salient  alignment of targets + uniformity of targets and the null vector, which stands for all the others
        null     mean of ||s||^2 / (2 t) over backgrounds
        joint    minus the kernel estimate of H(common, salient)

    Squared distances are over 2 t; uniformity is summed over the two views, the last two terms are their mean.

    Args:
        common: (2, B, D) unit vectors of two views.
        salient: (2, B, D'), of any length.
        target: (B,) bool, True = fake. A batch of one kind has terms of 0 where the other is asked for.
    """
    common, salient, gamma = full(common), full(salient), 1 / (2 * temperature)
    taught = salient * target[:, None]  # backgrounds count as the null vector, and learn nothing from uniformity
    uniform = {k: uniformity(v[0], gamma) + uniformity(v[1], gamma) for k, v in (("c", common), ("s", taught))}
    joint = torch.stack([kernel_entropy(both, gamma) for both in zip(common, taught, strict=True)])
    length = salient.square().sum(2).mean(0)  # (B,)
    return {
        "common": gamma * _mean(_gap(common)) + uniform["c"],
        "salient": gamma * _mean(_gap(salient), target) + uniform["s"],
        "null": gamma * _mean(length, ~target),
        "joint": -joint.mean(),
    }


def _gap(views: Tensor) -> Tensor:
    """(2, B, D) -> (B,): squared distance of the two views."""
    return (views[0] - views[1]).square().sum(1)


def _mean(values: Tensor, among: Tensor | None = None) -> Tensor:
    """Mean of (B,) values where `among` is True; 0 where it never is."""
    if among is None:
        return values.mean()
    return (values * among).sum() / among.sum().clamp(min=1)


class SepCLR(Objective):
    """Two encoders that share nothing, each with a code and a projector that is thrown away after training.

    L = common + `salient` (salient + null) + `joint` joint. The common projection is a unit vector, the salient one is
    not: it must be able to be null. A batch needs real and fake images, and two views of each.
    """

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-34",
        size: int = 128,
        codes: tuple[int, int] = (16, 16),
        hidden: int = 128,
        temperature: float = 0.5,
        salient: float = 1000.0,
        joint: float = 10.0,
    ) -> None:
        """
        Args:
            codes: lengths of the common and the salient code.
            hidden: width of the projectors inside.
        """
        super().__init__()
        self.common, self.salient = (_Coder(network, code, hidden) for code in codes)
        self.input = self.common.encoder.input(size)
        self.temperature = temperature
        self.weights = {"common": 1.0, "salient": salient, "null": salient, "joint": joint}

    @property
    def encoder(self) -> ConvNet:
        """Of the salient code: what fakes alone have."""
        return self.salient.encoder

    def codes(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) in 0..1 -> the common and the salient code, before their projectors."""
        return self.common.code(image), self.salient.code(image)

    def forward(self, image: Tensor) -> Tensor:
        """The salient code."""
        return self.salient.code(image)

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of the first two views. Raises: UnmaskError for one view, and images that are neither real nor fake."""
        if len(batch.images) < 2 or not ((batch.label == 0) | (batch.label == 1)).all():
            raise InputError("sepclr needs two `views` of each image, and its label: 0 = real, 1 = fake")
        views = batch.images[:2]
        common = torch.stack([F.normalize(full(self.common(v)), dim=1) for v in views])
        salient = torch.stack([self.salient(v) for v in views])
        found = sepclr_terms(common, salient, batch.label == 1, self.temperature)
        return {name: self.weights[name] * term for name, term in found.items()}

    def load_pretrained(self, weights: Path) -> None:
        """ImageNet weights in timm's layout, for both encoders."""
        for coder in (self.common, self.salient):
            coder.encoder.load_pretrained(weights)


class _Coder(nn.Module):
    def __init__(self, network: str, code: int, hidden: int) -> None:
        super().__init__()
        self.encoder = ConvNet(network)
        self.linear = nn.Linear(self.encoder.features, code)
        self.projector = head([code, hidden, code])

    def code(self, image: Tensor) -> Tensor:
        code: Tensor = self.linear(self.encoder.pooled(image))
        return code

    def forward(self, image: Tensor) -> Tensor:
        projected: Tensor = self.projector(self.code(image))
        return projected
