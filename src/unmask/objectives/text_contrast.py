"""Contrastive losses of language: the families that the primer of Rethmeier and Augenstein tells apart, on one encoder.

The idea in three sentences. Nearly all contrastive pre-training of text scores pairs, of two texts or of a text and a
label, and wants a true pair above others. Families differ in what they do with the scores: rank them, classify each,
keep a margin, or average over all of one label. Here each is a function of a few lines over the same scores.

Rethmeier and Augenstein: "A Primer on Contrastive Pretraining in Language Processing: Methods, Lessons Learned and
Perspectives", ACM Computing Surveys 55(10), 2023, arXiv 2102.12982. Its exemplars are cited at each function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Modality, Objective, Views
from unmask.errors import InputError
from unmask.nn.contrastive import cosines, info_nce, supervised_contrastive
from unmask.nn.precision import full
from unmask.nn.text import TextEncoder, TextSpec

CARD = {
    "title": "Contrastive losses of language (a primer)",
    "paper": "Rethmeier and Augenstein, ACM Computing Surveys 2023, arXiv 2102.12982",
    "task": "sentences, pairs, or sentences with labels -> a text encoder",
    "licence": "Apache-2.0; the survey has no code",
    "verified": "each loss by hand, and identities between them; the survey has no numbers",
    "small": {
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40, "causal": False, "pool": "mean", "dropout": 0.1},
    },
}  # fmt: skip
Kind = Literal[
    "info_nce", "nce", "negative_sampling", "margin", "pair", "supervised", "hard_negatives", "debiased", "input_label"
]


def binary_nce(positive: Tensor, negative: Tensor, log_noise: float = 0.0) -> Tensor:
    """-log sigmoid(s+ - b) - sum over K of log sigmoid(b - s_k), the mean over anchors.

    b = log(K p_noise) estimates a density (Gutmann and Hyvarinen, AISTATS 2010); b = 0 is word2vec's negative sampling
    (Mikolov et al., NIPS 2013), whose optimum is pointwise mutual information less log K.

    Args:
        positive: (N,) scores of true pairs; negative: (N, K) of others.
        log_noise: b.
    """
    right, wrong = F.softplus(log_noise - full(positive)), F.softplus(full(negative) - log_noise).sum(1)
    return (right + wrong).mean()


def margin_loss(positive: Tensor, negative: Tensor, margin: float = 0.2) -> Tensor:
    """Mean of max(0, margin - s+ + s_k) over anchors and negatives. Args: as of `binary_nce`."""
    return (margin - full(positive)[:, None] + full(negative)).relu().mean()


def pair_loss(distance: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Mean over pairs of d^2 if they belong together, else max(0, margin - d)^2 (Hadsell et al., CVPR 2006).

    Args:
        distance: of any shape; same: bool, of the same.
    """
    return torch.where(same, full(distance).square(), (margin - full(distance)).relu().square()).mean()


def mutual_information(loss: Tensor, negatives: int) -> Tensor:
    """log(K + 1) - InfoNCE: a lower bound of mutual information in nats, which never passes log(K + 1).

    Args:
        loss: of `ranking_loss` with K `negatives`.
    """
    return math.log(negatives + 1) - loss


def ranking_loss(positive: Tensor, negative: Tensor, temperature: float = 1.0) -> Tensor:
    """InfoNCE over one positive and K negatives (van den Oord et al., arXiv 1807.03748). Args: as of `binary_nce`."""
    logits = torch.cat([positive[:, None], negative], 1) / temperature
    first = torch.zeros_like(logits, dtype=torch.bool)
    first[:, 0] = True
    return info_nce(logits, first)


def hard_negative_loss(
    positive: Tensor, negative: Tensor, temperature: float = 1.0, beta: float = 1.0, prior: float = 0.0
) -> Tensor:
    """InfoNCE whose negatives count by exp(beta s), less the mass of those that are false.

    Robinson et al., ICLR 2021 (beta); Chuang et al., NeurIPS 2020 (prior). beta = prior = 0 is `ranking_loss`.

    Args:
        positive, negative: as of `binary_nce`, in -1..1.
        prior: the share of negatives that are positives.
    """
    s, n = full(positive) / temperature, full(negative) / temperature
    count = n.shape[1]
    weight = (beta * n).softmax(1) * count
    mass = (weight * n.exp()).sum(1)
    mass = (mass - count * prior * s.exp()) / (1 - prior)
    mass = torch.maximum(mass, torch.full_like(mass, count * math.exp(-1 / temperature)))
    return F.softplus(mass.log() - s).mean()


def input_label_loss(scores: Tensor, true: Tensor) -> Tensor:
    """Each label on or off by itself: binary cross-entropy of text with label scores (GILE, TACL 2019; CLESS).

    Args:
        scores: (N, K); true: (N, K) bool, several a row allowed.
    """
    return F.binary_cross_entropy_with_logits(full(scores), true.to(full(scores).dtype), reduction="none").sum(1).mean()


class TextContrast(Objective):
    """One encoder, one matrix of scores, and the family that the recipe names."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)

    def __init__(
        self,
        text: TextSpec = TextSpec(  # noqa: B008 - it is frozen
            length=64, width=512, depth=6, heads=8, causal=False, pool="mean", dropout=0.1
        ),
        kind: Kind = "info_nce",
        temperature: float = 0.07,
        margin: float = 0.2,
        beta: float = 1.0,
        prior: float = 0.05,
    ) -> None:
        """
        Args:
            text: the encoder.
            kind: `supervised` learns from labels; `input_label` from a second view that holds the label's words.
            margin: of `margin`; `pair` takes 1.
            beta: of hard_negatives; prior: of debiased.
        """
        super().__init__()
        self.text, self.kind, self.temperature = TextEncoder(text), kind, temperature
        self.margin, self.beta, self.prior = margin, beta, prior

    @property
    def encoder(self) -> nn.Module:
        return self.text

    def read(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self.text(texts)
        return found

    def loss(self, batch: Views) -> dict[str, Tensor]:
        if not batch.texts or len(batch) < 2:
            raise InputError("sentences must be two in a batch, or more, to be told apart")
        one, other = self.text(batch.texts[0]), self.text(batch.texts[min(1, len(batch.texts) - 1)])
        if self.kind == "supervised":
            return {
                "supervised": supervised_contrastive(torch.cat([one, other]), batch.label.repeat(2), self.temperature)
            }
        cosine = cosines(one, other)
        if self.kind == "input_label":
            said = batch.texts[min(1, len(batch.texts) - 1)]
            true = torch.tensor([[a == b for b in said] for a in said], device=cosine.device)
            return {"input_label": input_label_loss(cosine / self.temperature, true)}
        if self.kind == "pair":
            own = torch.eye(len(one), dtype=torch.bool, device=cosine.device)
            return {"pair": pair_loss((2 - 2 * cosine).clamp_min(1e-12).sqrt(), own)}
        return {self.kind: self.contrast(cosine.diagonal(), off_diagonal(cosine))}

    def contrast(self, positive: Tensor, negative: Tensor) -> Tensor:
        """(N,) and (N, N - 1) cosines -> the family's loss."""
        if self.kind == "margin":
            return margin_loss(positive, negative, self.margin)
        if self.kind in ("nce", "negative_sampling"):
            # Negatives are the batch, about even over sentences: p_noise = 1 / N, and b = log((N - 1) / N).
            noise = math.log(negative.shape[1] / (negative.shape[1] + 1)) if self.kind == "nce" else 0.0
            return binary_nce(positive / self.temperature, negative / self.temperature, noise)
        if self.kind == "info_nce":
            return ranking_loss(positive, negative, self.temperature)
        beta, prior = (self.beta, 0.0) if self.kind == "hard_negatives" else (0.0, self.prior)
        return hard_negative_loss(positive, negative, self.temperature, beta, prior)


def off_diagonal(square: Tensor) -> Tensor:
    """(N, N) -> (N, N - 1), each row without its own entry."""
    n = len(square)
    return square.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
