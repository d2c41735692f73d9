"""Debiased sentence contrast in the manner of DebCSE: pairs are drawn against the bias of augmentation.

The idea in three sentences. Pairs that augmentation makes look alike (same length, same words), and an encoder learns
that rather than meaning. So positives are drawn with more weight where they mean the same and look different, and
negatives where they look the same and mean something else. What may be a false negative counts not at all.

Miao, Du and Zhang: "DebCSE: Rethinking Unsupervised Contrastive Sentence Embedding Learning in the Debiasing
Perspective", CIKM 2023, arXiv 2309.07396. **The weights are our reconstruction** from the abstract's aims: no code and
no formula of the authors was at hand. It is no reproduction of DebCSE. The base is SimCSE (arXiv 2104.08821).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unmask.base.method import Engine
from unmask.base.objective import Modality, Objective, Views
from unmask.errors import InputError
from unmask.nn.contrastive import cosines, info_nce
from unmask.nn.heads import head
from unmask.nn.momentum import MomentumEncoder
from unmask.nn.text import TextEncoder, TextSpec

CARD = {
    "title": "Debiased sentence contrast, in the manner of DebCSE (our reconstruction)",
    "paper": "after Miao, Du and Zhang, CIKM 2023, arXiv 2309.07396",
    "task": "sentences and changed copies of them -> a text encoder",
    "licence": "Apache-2.0; no code or weights of others exist",
    "verified": "the neutral setting is SimCSE's loss; weights by hand; nothing was trained to a result",
    "small": {
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40, "causal": False, "pool": "first", "dropout": 0.1},
    },
}  # fmt: skip


def surface_similarity(one: Sequence[str], other: Sequence[str]) -> Tensor:
    """(N, M) in 0..1: mean of the share of common words (Jaccard) and of the shorter length over the longer one."""
    first, second = ([t.lower().split() for t in side] for side in (one, other))
    found = torch.empty(len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            common = len(set(a) & set(b)) / max(1, len(set(a) | set(b)))
            length = min(len(a), len(b)) / max(1, len(a), len(b))
            found[i, j] = (common + length) / 2
    return found


def debiased_weights(
    wanted: Tensor, biased: Tensor, power: float = 1.0, against: float = 1.0, clip: float = 10.0, epsilon: float = 0.05
) -> Tensor:
    """wanted^power / (biased + epsilon)^against of candidates, between 1/clip and clip of their mean; rows sum to 1.

    Positives want meaning against surface, negatives surface against meaning.

    Args:
        wanted, biased: (N, K) similarities in 0..1. Powers of 0 give each candidate the same weight.
    """
    raw = wanted.clamp_min(0) ** power / (biased + epsilon) ** against
    mean = raw.mean(1, keepdim=True).clamp_min(1e-12)
    bounded = (raw / mean).clamp(1 / clip, clip)
    return bounded / bounded.sum(1, keepdim=True)


def drawn(weights: Tensor, count: int) -> Tensor:
    """(N, count) different columns of each row, by their weights (Gumbel top-k, Kool et al., ICML 2019)."""
    noise = -(-torch.rand_like(weights).clamp(1e-12, 1 - 1e-7).log()).log()
    return (weights.clamp_min(1e-30).log() + noise).topk(count, 1).indices


def debiased_loss(
    anchor: Tensor, positive: Tensor, allowed: Tensor, hard: Tensor | None = None, temperature: float = 0.05
) -> Tensor:
    """InfoNCE in which false negatives are left out, and hard negatives count once more.

    Args:
        anchor, positive: (N, D) of any lengths; row i of both belongs together.
        allowed: (N, N) bool, which sentences of the batch are negatives of which; the diagonal does not matter.
        hard: (N, m) columns that are counted again.
    """
    logits = cosines(anchor, positive) / temperature
    own = torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
    valid = allowed | own
    if hard is not None and hard.shape[1]:
        logits = torch.cat([logits, logits.gather(1, hard)], 1)
        valid = torch.cat([valid, allowed.gather(1, hard)], 1)
        own = torch.cat([own, torch.zeros_like(hard, dtype=torch.bool)], 1)
    return info_nce(logits, own, valid)


class DebiasedSentenceContrast(Objective):
    """SimCSE's encoder and head; a momentum copy of the encoder says what sentences mean."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)

    def __init__(
        self,
        text: TextSpec = TextSpec(  # noqa: B008 - it is frozen
            length=32, width=768, depth=12, heads=12, causal=False, pool="first", dropout=0.1
        ),
        temperature: float = 0.05,
        meaning: float = 1.0,
        surface: float = 1.0,
        clip: float = 10.0,
        guard: float = 0.95,
        hard: int = 1,
        momentum: float = 0.999,
    ) -> None:
        """
        Args:
            text: the encoder, with dropout.
            meaning, surface: powers of both similarities in the weights; 0 draws evenly.
            clip: bound of a weight over the mean.
            guard: similarity of meaning, 0..1, above which another sentence is no negative; 2 = never.
            hard: negatives of the batch that count twice.
            momentum: of the scorer.
        """
        super().__init__()
        self.text = TextEncoder(text)
        self.head = head((self.text.features, self.text.features), norm="none", last_activation="tanh")
        self.scorer = MomentumEncoder(self.text)
        self.temperature, self.powers, self.clip = temperature, (meaning, surface), clip
        self.guard, self.hard, self.momentum = guard, hard, momentum

    @property
    def encoder(self) -> nn.Module:
        return self.text

    def read(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self.text(texts)
        return found

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """The first view holds the anchors; a positive is drawn from them (dropout) and from the other views."""
        if not batch.texts or len(batch) < 2:
            raise InputError("sentences must be two in a batch, or more, to be told apart")
        anchors = batch.texts[0]
        chosen = self.positives(batch.texts)
        anchor, positive = self.head(self.text(anchors)), self.head(self.text(chosen))
        meaning = self.meaning(anchors, anchors)
        allowed = (meaning <= self.guard) & ~torch.eye(len(anchors), dtype=torch.bool, device=meaning.device)
        hard = self.hardest(anchors, meaning, allowed) if self.hard else None
        return {"debiased": debiased_loss(anchor, positive, allowed, hard, self.temperature)}

    def positives(self, views: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """One of each sentence's candidates. Where there is only itself, nothing is drawn."""
        if len(views) == 1:
            return tuple(views[0])
        meaning = torch.stack([self.meaning(views[0], view).diagonal() for view in views], 1)
        alike = torch.stack([surface_similarity(views[0], view).diagonal() for view in views], 1).to(meaning)
        index = drawn(debiased_weights(meaning, alike, *self.powers, self.clip), 1)[:, 0].tolist()
        return tuple(views[k][row] for row, k in enumerate(index))

    def hardest(self, anchors: Sequence[str], meaning: Tensor, allowed: Tensor) -> Tensor:
        """(N, m) sentences of the batch that look like the anchor and mean something else."""
        alike = surface_similarity(anchors, anchors).to(meaning)
        weights = debiased_weights(alike, meaning, self.powers[1], self.powers[0], self.clip) * allowed
        return drawn(weights, min(self.hard, len(anchors) - 1))

    @torch.no_grad()
    def meaning(self, one: Sequence[str], other: Sequence[str]) -> Tensor:
        """(N, M) in 0..1: (1 + cosine) / 2 by the scorer, without dropout."""
        self.scorer.eval()
        return (1 + cosines(self.scorer(one), self.scorer(other))) / 2

    def updated(self, engine: Engine) -> None:
        self.scorer.follow(self.text, self.momentum)
