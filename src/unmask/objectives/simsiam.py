"""SimSiam: predict the embedding of the other view by the same network, and do not move what is predicted.

The idea in three sentences. BYOL without its teacher: both views pass one network, and a predictor on one side must
come near to the embedding of the other side. That no gradient flows into what is predicted is enough to keep all
embeddings from becoming one point. Negatives, queues and momentum are not needed.

Chen and He: "Exploring Simple Siamese Representation Learning", CVPR 2021, arXiv 2011.10566.
"""

from __future__ import annotations

from torch import Tensor, nn

from unmask.base.objective import Objective, Views
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head, with_head
from unmask.nn.predictive import negative_cosine

CARD = {
    "title": "SimSiam",
    "paper": "Chen and He, CVPR 2021, arXiv 2011.10566",
    "task": "two views of each image -> an encoder",
    "licence": "Apache-2.0; written from the paper. The authors' code is CC BY-NC, not used",
    "verified": "loss and gradient equal lightly's, and kNN on digits after training; no ImageNet number",
    "small": {"network": "tiny-resnet", "size": 32, "dim": 32, "bottleneck": 16},
}


def simsiam_loss(predictions: tuple[Tensor, Tensor], embeddings: tuple[Tensor, Tensor]) -> Tensor:
    """Half of each direction of -cos(p, stop-gradient z): in -1..1 (eq. 4).

    Args:
        predictions: for view 1 and view 2, (N, D) each; embeddings: of the same views.
    """
    (p1, p2), (z1, z2) = predictions, embeddings
    return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2


class SimSiam(Objective):
    """Encoder, projector of three layers, predictor with a bottleneck."""

    def __init__(self, network: str = "resnet-50", size: int = 224, dim: int = 2048, bottleneck: int = 512) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            dim: width of the projector's layers; the last has batch normalisation without scale and shift.
            bottleneck: width of the predictor's hidden layer.
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        self.student = with_head(body, head((body.features, dim, dim, dim), last_norm="batch-plain"))
        self.predictor = head((dim, bottleneck, dim))

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        one, other = self.student(batch.images[0]), self.student(batch.images[1])
        return {"simsiam": simsiam_loss((self.predictor(one), self.predictor(other)), (one, other))}
