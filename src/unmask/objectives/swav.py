"""SwAV: from one crop of an image, predict to which prototypes another crop of it was assigned.

The idea in three sentences. Every crop is compared with learnt prototypes, and a Sinkhorn iteration assigns the crops
of a batch to them so that all are used alike, which keeps all crops from ending at one. Each crop then has to predict
the assignment of another crop of its image. It needs no negatives and no teacher, and small crops are cheap views.

Caron et al.: "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020,
arXiv 2006.09882.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.errors import InputError
from unmask.nn.contrastive import soft_cross_entropy
from unmask.nn.convnets import ConvNet
from unmask.nn.gather import gather
from unmask.nn.heads import head
from unmask.nn.precision import full
from unmask.nn.queue import FeatureQueue
from unmask.nn.sinkhorn import effective_prototypes, sinkhorn

CARD = {
    "title": "SwAV (swapped assignments between views)",
    "paper": "Caron et al., NeurIPS 2020, arXiv 2006.09882",
    "task": "two large crops and any number of small ones -> an encoder",
    "licence": "Apache-2.0; written from the paper's formulas. The authors' code and weights are CC BY-NC, not used",
    "verified": "loss and gradient equal lightly's; the collapse control; no ImageNet number was reproduced",
    "small": {"network": "tiny-resnet", "size": 32, "hidden": 32, "dim": 16, "prototypes": 12},
}
ASSIGNED = 2  # large crops, the first views of a batch


def swav_loss(scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Mean over assigned crops i, and over all crops v but i, of -sum over k of codes_i log softmax(scores_v / T).

    Args:
        scores: of each crop (B, K), cosines with the prototypes; the assigned ones first.
        codes: of each assigned crop (B, K), rows that sum to 1 (`unmask.nn.sinkhorn`).
    """
    terms = [
        soft_cross_entropy(score / temperature, code)
        for i, code in enumerate(codes)
        for v, score in enumerate(scores)
        if v != i
    ]
    return torch.stack(terms).mean()


class SwAV(Objective):
    """Encoder, head and prototypes. The first two views are assigned, all views predict."""

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 224,
        hidden: int = 2048,
        dim: int = 128,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 0,
        queue_from: float = 15.0,
        frozen: int = 0,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the large crops, pixels; small ones may have any.
            hidden, dim: widths of the head.
            prototypes: a few times the number of groups that one expects. Where a batch is smaller, take a queue.
            epsilon: of Sinkhorn; smaller makes harder assignments (0.03 where all collapses).
            queue: earlier embeddings of each assigned view that take part in the balance; 3,840 for a batch of 256.
            queue_from: epoch from which on the queue is filled; it is used when it is full.
            frozen: the prototypes stay as they are for so many steps at first; 313 for a batch of 4,096 on ImageNet.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.projector = head((self.body.features, hidden, dim), unit=True)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, dim), dim=1))
        self.queues = nn.ModuleList(FeatureQueue(queue, dim) for _ in range(ASSIGNED if queue else 0))
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.queue_from, self.frozen = queue_from, frozen
        self.seen: list[Tensor] = []  # embeddings of this step, for the queues
        self.used = torch.zeros(())

    @property
    def encoder(self) -> nn.Module:
        return self.body

    def loss(self, batch: Views) -> dict[str, Tensor]:
        if len(batch.images) < ASSIGNED:
            raise InputError(f"SwAV needs two views or more of each image, not {len(batch.images)}")
        with torch.no_grad():
            self.prototypes.copy_(F.normalize(self.prototypes, dim=1))
        embeddings = self.embed(batch.images)
        scores = [self.scores(z) for z in embeddings]
        codes = [self.codes(score.detach(), i) for i, score in enumerate(scores[:ASSIGNED])]
        self.seen = [gather(z.detach()) for z in embeddings[: len(self.queues)]]
        self.used = effective_prototypes(codes[0])
        return {"swav": swav_loss(scores, codes, self.temperature)}

    def embed(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Unit embeddings of each view; the encoder runs once for each size, the head once."""
        features = []
        for _, same in groupby(images, key=lambda image: image.shape[-2:]):
            features.append(self.body.pooled(torch.cat(list(same))))
        return list(self.projector(torch.cat(features)).chunk(len(images)))

    def scores(self, embedding: Tensor) -> Tensor:
        """(B, D) -> (B, K), cosines with the prototypes."""
        with torch.autocast(embedding.device.type, enabled=False):
            return full(embedding) @ self.prototypes.T

    def codes(self, scores: Tensor, view: int) -> Tensor:
        """The assignment of a view, balanced over all processes, and its queue where there is a full one."""
        queue = self.queues[view] if self.queues else None
        old = self.scores(queue.rows).detach() if isinstance(queue, FeatureQueue) and queue.ready else None
        return sinkhorn(scores, self.epsilon, self.iterations, queued=old, gather=gather)

    def step(self, batch: Views, engine: Engine) -> dict[str, Tensor]:
        with engine.autocast():
            terms = self.loss(batch)
        engine.backward(torch.stack(list(terms.values())).sum())
        if engine.step < self.frozen:
            self.prototypes.grad = None
        if engine.update():
            self.updated(engine)
        return terms | {"prototypes_used": self.used}

    def updated(self, engine: Engine) -> None:
        if engine.step >= self.queue_from * engine.per_epoch:
            for queue, rows in zip(self.queues, self.seen, strict=True):
                assert isinstance(queue, FeatureQueue)
                queue.push(rows)
