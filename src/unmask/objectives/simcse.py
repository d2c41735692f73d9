"""SimCSE: a sentence is its own positive, read twice with other neurons dropped out.

The idea in three sentences. Dropout alone makes two different embeddings of one sentence, and change nothing of its
meaning. Each must find its twin among all sentences of the batch. With triplets of inference, what follows from a
sentence is its positive, and what contradicts it a hard negative.

Gao, Yao and Chen: "SimCSE: Simple Contrastive Learning of Sentence Embeddings", EMNLP 2021, arXiv 2104.08821.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unmask.base.objective import Modality, Objective, Views
from unmask.errors import InputError
from unmask.nn.contrastive import cosines, info_nce, marks
from unmask.nn.gather import gather, place
from unmask.nn.heads import head
from unmask.nn.text import TextEncoder, TextSpec

CARD = {
    "title": "SimCSE",
    "paper": "Gao, Yao and Chen, EMNLP 2021, arXiv 2104.08821",
    "task": "sentences, pairs or triplets -> a text encoder",
    "licence": "Apache-2.0; the authors' code is MIT, not used",
    "verified": "loss and gradient equal sentence-transformers'; no STS number of the paper",
    "small": {
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40, "causal": False, "pool": "first", "dropout": 0.1},
    },
}  # fmt: skip


def simcse_loss(
    anchor: Tensor,
    positive: Tensor,
    temperature: float = 0.05,
    negative: Tensor | None = None,
    hard_weight: float = 0.0,
) -> Tensor:
    """-log of the positive's share among all positives, and all hard negatives, of the batch.

    Args:
        anchor, positive: (N, D) of any lengths; row i of both is of one sentence.
        negative: (N, D) hard negatives, candidates of all anchors.
        hard_weight: added to the logit of an anchor's own hard negative.
    """
    mine = torch.arange(len(anchor), device=anchor.device) + place(len(anchor))
    logits = cosines(anchor, gather(positive)) / temperature
    if negative is not None:
        hard = cosines(anchor, gather(negative)) / temperature
        logits = torch.cat([logits, hard + hard_weight * marks(mine, hard.shape[1])], 1)
    return info_nce(logits, marks(mine, logits.shape[1]))


class SimCSE(Objective):
    """A text encoder, and a layer with tanh that only training uses."""

    modalities: ClassVar[tuple[Modality, ...]] = ("text",)

    def __init__(
        self,
        text: TextSpec = TextSpec(  # noqa: B008 - it is frozen
            length=32, width=768, depth=12, heads=12, causal=False, pool="first", dropout=0.1
        ),
        temperature: float = 0.05,
        hard_weight: float = 0.0,
        keep_head: bool = False,
    ) -> None:
        """
        Args:
            text: the encoder; its dropout makes the two views, so it cannot be 0 without pairs.
            hard_weight: of a triplet's own negative.
            keep_head: whether embeddings come from behind the head, as in the supervised case.
        """
        super().__init__()
        self.text = TextEncoder(text)
        self.head = head((self.text.features, self.text.features), norm="none", last_activation="tanh")
        self.temperature, self.hard_weight, self.keep_head = temperature, hard_weight, keep_head

    @property
    def encoder(self) -> nn.Module:
        return self.text

    def read(self, texts: Sequence[str]) -> Tensor:
        features: Tensor = self.text(texts)
        return self.head(features) if self.keep_head else features

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of one view: the sentence twice; of two: pairs; of three: triplets with a hard negative."""
        views = batch.texts
        if not views or (len(views) == 1 and not self.text.spec.dropout):
            raise InputError("SimCSE needs sentences, and without pairs an encoder with dropout: set text.dropout")
        views = views if len(views) > 1 else (views[0], views[0])
        anchor, positive, *more = (self.head(self.text(view)) for view in views[:3])
        negative = more[0] if more else None
        return {"simcse": simcse_loss(anchor, positive, self.temperature, negative, self.hard_weight)}
