"""SepCLR: one code for what real and fake faces share, another for what the fakes alone have.

The idea in three sentences. Two encoders look at background images (real) and target images (fake): the common code is
learnt from all of them, the salient code from the targets, while every background image must have the null vector.
Both maximise mutual information with the image by alignment and uniformity. The joint entropy of the two codes, by a
kernel estimate, is maximised too, so that neither repeats what the other says.

Louiset et al.: "Separating Common from Salient Patterns with Contrastive Representation Learning", ICLR 2024,
arXiv 2402.11928. Weights are those of the authors' scripts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.nn.hypersphere import kernel_entropy, uniformity
from unmask.nn.precision import full

CARD = {
    "title": "SepCLR (common and salient codes)",
    "paper": "Louiset et al., ICLR 2024, arXiv 2402.11928",
    "task": "two views of real and fake images -> a code of both, and one of the fakes alone",
    "licence": "Apache-2.0; the authors' code has no licence, formulas only",
    "verified": "terms by hand and by loops, gradients to background images; no published weights or tables",
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
