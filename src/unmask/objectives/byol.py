"""BYOL: predict what a slow copy of the network says of the other view. No negatives.

The idea in three sentences. A student embeds one view and predicts from it the embedding of the other view by a
teacher, which is the running mean of the student. All embeddings could become one point, and the loss would be perfect;
yet a predictor on one side only, and a teacher that moves slowly, keep that from happening. The teacher's momentum
rises to 1 over the run.

Grill et al.: "Bootstrap Your Own Latent", NeurIPS 2020, arXiv 2006.07733.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head, with_head
from unmask.nn.momentum import MomentumEncoder, cosine_momentum
from unmask.nn.predictive import negative_cosine

CARD = {
    "title": "BYOL",
    "paper": "Grill et al., NeurIPS 2020, arXiv 2006.07733",
    "task": "two views of each image -> an encoder",
    "licence": "Apache-2.0",
    "verified": "loss and gradient equal lightly's, and kNN on digits after training; no ImageNet number",
    "small": {"network": "tiny-resnet", "size": 32, "hidden": 32, "dim": 16},
}


def byol_loss(predictions: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    """Sum over both directions of the mean of ||p / |p| - z / |z| ||^2 = 2 - 2 cos(p, z): in 0..8 (eq. 2).

    Args:
        predictions: of the student for view 1 and view 2, (N, D) each.
        targets: of the teacher for the same views; each meets the other view's prediction, and has no gradient.
    """
    (p1, p2), (z1, z2) = predictions, targets
    return 4 + 2 * negative_cosine(p1, z2) + 2 * negative_cosine(p2, z1)


class BYOL(Objective):
    """Encoder, projector and predictor, against a momentum copy of the first two."""

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 224,
        hidden: int = 4096,
        dim: int = 256,
        momentum: float = 0.996,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            hidden, dim: widths of projector and predictor.
            momentum: at the start; it rises to 1 over the run by a cosine. Short runs need less: 0.99.
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        self.student = with_head(body, head((body.features, hidden, dim)))
        self.predictor = head((dim, hidden, dim))
        self.teacher = MomentumEncoder(self.student)
        self.momentum = momentum

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        one, other = batch.images
        predictions = self.predictor(self.student(one)), self.predictor(self.student(other))
        return {"byol": byol_loss(predictions, (self.teacher(one), self.teacher(other)))}

    def updated(self, engine: Engine) -> None:
        self.teacher.follow(self.student, cosine_momentum(self.momentum, engine.done))

    def load_pretrained(self, weights: Path) -> None:
        super().load_pretrained(weights)
        self.teacher.follow(self.student, 0.0)
