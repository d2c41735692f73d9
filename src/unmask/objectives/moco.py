"""MoCo: find your twin, embedded by a slow copy of the network, among thousands of earlier embeddings.

The idea in three sentences. Contrast needs many negatives, and a batch holds few. So embeddings of earlier batches stay
in a queue; and for them to stay comparable they come from a copy of the network that follows it slowly. Version 2 adds
SimCLR's perceptron as the head.

He et al.: "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020, arXiv 1911.05722. Chen et
al.: "Improved Baselines with Momentum Contrastive Learning" (v2), arXiv 2003.04297. Keys are not shuffled over
processes: with several of them, batch statistics can tell a key from the queue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import queue_nce
from unmask.nn.convnets import ConvNet
from unmask.nn.gather import gather
from unmask.nn.heads import head, with_head
from unmask.nn.momentum import MomentumEncoder
from unmask.nn.queue import FeatureQueue, random_directions

CARD = {
    "title": "MoCo v1 and v2",
    "paper": "He et al., CVPR 2020, arXiv 1911.05722; Chen et al., arXiv 2003.04297",
    "task": "two views of each image -> an encoder",
    "licence": "Apache-2.0; written from the formulas. The authors' code is CC BY-NC, not used",
    "verified": "loss and gradient equal lightly's, and kNN on digits after training; no ImageNet number",
    "small": {"network": "tiny-resnet", "size": 32, "dim": 16, "queue": 64},
}


class MoCo(Objective):
    """Encoder and head, a momentum copy of both for the keys, a queue of keys as negatives."""

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 224,
        version: Literal[1, 2] = 2,
        dim: int = 128,
        queue: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.2,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            version: 1 has a linear head (and a temperature of 0.07), 2 a hidden layer as wide as the feature.
            queue: keys that are kept; the batch need not divide it. Take fewer than there are images.
            momentum: of the copy, constant.
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        widths = (body.features, dim) if version == 1 else (body.features, body.features, dim)
        self.student = with_head(body, head(widths, norm="none"))
        self.teacher = MomentumEncoder(self.student)
        self.queue = FeatureQueue(queue, dim, random_directions(queue, dim))
        self.momentum, self.temperature = momentum, temperature
        self.seen: Tensor | None = None  # keys of this step, for the queue

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        query, key = self.student(batch.images[0]), self.teacher(batch.images[1])
        self.seen = gather(F.normalize(key, dim=1))
        return {"info_nce": queue_nce(query, key, self.queue.filled, self.temperature)}

    def updated(self, engine: Engine) -> None:
        self.teacher.follow(self.student, self.momentum)
        if self.seen is not None:
            self.queue.push(self.seen)

    def load_pretrained(self, weights: Path) -> None:
        super().load_pretrained(weights)
        self.teacher.follow(self.student, 0.0)
