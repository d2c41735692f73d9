"""BYOL-like and MoCo-like at once, on a few thousand weights: a momentum teacher, a queue, statistics of a norm.

A module of its own, so that processes of a training can import it as they do an installed method.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.nn.gather import gather
from unmask.nn.momentum import MomentumEncoder, cosine_momentum
from unmask.nn.queue import FeatureQueue, random_directions
from unmask.types import InputSpec

CARD = {
    "title": "Momentum toy",
    "paper": "none",
    "task": "two views -> an encoder",
    "licence": "Apache-2.0",
    "verified": "nothing: it is for tests",
}


class MomentumToy(Objective):
    """L = -cos(predictor(student), teacher) + cross-entropy of the teacher's key among those of the queue."""

    def __init__(self, width: int = 8, size: int = 16) -> None:
        super().__init__()
        self.input = InputSpec(size=32, margin=1.3)
        body = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.student = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, width))
        self.predictor = nn.Linear(width, width)
        self.teacher = MomentumEncoder(self.student)
        self.queue = FeatureQueue(size, width, random_directions(size, width))
        self.keys: Tensor | None = None

    @property
    def encoder(self) -> nn.Module:
        body = self.student[0]
        assert isinstance(body, nn.Module)
        return body

    def loss(self, batch: Views) -> dict[str, Tensor]:
        query, key = self.student(batch.images[0]), F.normalize(self.teacher(batch.images[1]), dim=1)
        self.keys = gather(key)
        predicted = F.normalize(self.predictor(query), dim=1)
        cosine = F.normalize(query, dim=1) @ torch.cat([key, self.queue.filled]).T
        own = torch.arange(len(key))
        return {"byol": -(predicted * key).sum(1).mean(), "moco": F.cross_entropy(cosine / 0.2, own)}

    def updated(self, engine: Engine) -> None:
        self.teacher.follow(self.student, cosine_momentum(0.9, engine.done))
        assert self.keys is not None
        self.queue.push(self.keys)
