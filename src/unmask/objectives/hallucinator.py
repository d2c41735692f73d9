"""Hallucinator: one harder positive more for every pair, made in the space of embeddings by a small perceptron.

The idea in three sentences. A query is moved a little away from its partner, along the line through both, and a small
perceptron turns the two into a further query. The host's loss (MoCo, SimCLR, SimSiam) then counts half for queries as
they are and half for hallucinated ones. After training the perceptron is thrown away, so that it costs next to nothing.

Wu et al.: "Hallucination Improves the Performance of Unsupervised Visual Representation Learning", ICCV 2023,
arXiv 2307.12168.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import nt_xent, queue_nce
from unmask.nn.convnets import ConvNet
from unmask.nn.gather import gather
from unmask.nn.heads import head, with_head
from unmask.nn.momentum import MomentumEncoder
from unmask.nn.predictive import negative_cosine
from unmask.nn.queue import FeatureQueue, random_directions

CARD = {
    "title": "Hallucinator",
    "paper": "Wu et al., ICCV 2023, arXiv 2307.12168",
    "task": "two views -> an encoder, with MoCo, SimCLR or SimSiam as its host",
    "licence": "Apache-2.0; written from the formulas: the authors' code has no licence",
    "verified": "without extrapolation and perceptron it is its host, gradient included; no published number",
    "small": {"network": "tiny-resnet", "size": 32, "host": "simsiam", "hidden": 32, "dim": 16},
}


def extrapolate(query: Tensor, partner: Tensor, share: Tensor | float) -> Tensor:
    """(1 + share) query - share partner: away from the partner.

    Args:
        query, partner: (N, D).
        share: in 0..0.1 in the paper, one number for the batch.
    """
    return (1 + share) * query - share * partner


class Hallucination(nn.Module):
    """[query ; extrapolated query] -> a further query (N, D): three layers, no normalisation, no shortcut."""

    def __init__(self, dim: int, strength: float = 0.1) -> None:
        """`strength`: the share to extrapolate by is drawn anew for each batch from 0..strength."""
        super().__init__()
        self.strength = strength
        self.mlp = head((2 * dim, 2 * dim, 2 * dim, dim), norm="none")

    def forward(self, query: Tensor, partner: Tensor) -> Tensor:
        share = self.strength * torch.rand((), device=query.device)
        further: Tensor = self.mlp(torch.cat([query, extrapolate(query, partner, share)], 1))
        return further


def published_nt_xent(query: Tensor, further: Tensor, key: Tensor, temperature: float = 0.5) -> Tensor:
    """SimCLR's loss as the authors' code has it: the pairs (query, key) and (further, key) in one batch.

    Every key is in it twice, once as a positive and once as a false negative of the same anchor: with orthonormal
    embeddings the loss ends at about log 3, not at 0. `(nt_xent(query, key) + nt_xent(further, key)) / 2` has no such
    floor.

    Args:
        query, further, key: (N, D).
    """
    return nt_xent(torch.cat([query, further]), torch.cat([key, key]), temperature)


class Hallucinator(Objective):
    """A host's encoder and head (SimSiam's: and predictor), and the perceptron between query and partner.

    The first view is the query. With SimSiam both directions are hallucinated, by one perceptron.
    """

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 224,
        host: Literal["moco", "simclr", "simsiam"] = "moco",
        hidden: int = 2048,
        dim: int = 128,
        strength: float = 0.1,
        temperature: float = 0.2,
        queue: int = 65536,
        momentum: float = 0.999,
        published: bool = False,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            hidden, dim: widths of the head; SimSiam's predictor has a bottleneck of a quarter of `dim`.
            strength: largest share by which a query is extrapolated.
            temperature: of MoCo and SimCLR; queue, momentum: of MoCo.
            published: as the authors' code has it: MoCo's keys enter the queue twice, and its queries are extrapolated
                before they have unit length; SimCLR's keys are false negatives of their own pair.
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        self.host, self.temperature, self.momentum, self.published = host, temperature, momentum, published
        widths = (body.features, hidden, dim)
        if host == "simsiam":
            self.student = with_head(body, head((*widths[:2], hidden, dim), last_norm="batch-plain"))
            self.predictor = head((dim, max(dim // 4, 1), dim))
        else:
            self.student = with_head(body, head(widths, norm="batch" if host == "simclr" else "none"))
        if host == "moco":
            self.teacher = MomentumEncoder(self.student)
            self.queue = FeatureQueue(queue, dim, random_directions(queue, dim))
        self.hallucinate = Hallucination(dim, strength)
        self.seen: Tensor | None = None  # MoCo's keys of this step, for the queue

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        one, other = batch.images
        hosts = {"moco": self.moco, "simclr": self.simclr, "simsiam": self.simsiam}
        plain, further = hosts[self.host](one, other)
        return {"plain": plain / 2, "hallucinated": further / 2}

    def simclr(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        query, key = self.student(torch.cat([one, other])).chunk(2)
        further = self.hallucinate(query, key)
        if self.published:
            both = published_nt_xent(query, further, key, self.temperature)
            return both, both
        return nt_xent(query, key, self.temperature), nt_xent(further, key, self.temperature)

    def moco(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        query, key = self.student(one), F.normalize(self.teacher(other), dim=1)
        further = self.hallucinate(query if self.published else F.normalize(query, dim=1), key)
        self.seen = gather(torch.cat([key, key]) if self.published else key)
        rows = self.queue.filled
        return queue_nce(query, key, rows, self.temperature), queue_nce(further, key, rows, self.temperature)

    def simsiam(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        z1, z2 = self.student(one), self.student(other)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        plain = negative_cosine(p1, z2) + negative_cosine(p2, z1)
        further = negative_cosine(self.hallucinate(p1, p2), z2) + negative_cosine(self.hallucinate(p2, p1), z1)
        return plain / 2, further / 2

    def updated(self, engine: Engine) -> None:
        if self.host == "moco":
            self.teacher.follow(self.student, self.momentum)
            if self.seen is not None:
                self.queue.push(self.seen)

    def load_pretrained(self, weights: Path) -> None:
        super().load_pretrained(weights)
        if self.host == "moco":
            self.teacher.follow(self.student, 0.0)
