"""SupCon: all images of one class are each other's positives.

The idea in three sentences. SimCLR pushes apart two images of one class, for it does not know that they belong
together. Where labels are known, every view of every image of the class becomes a positive. The encoder is trained by
that alone, and a classifier is put on it afterwards.

Khosla et al.: "Supervised Contrastive Learning", NeurIPS 2020, arXiv 2004.11362.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import supervised_contrastive
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head, with_head

CARD = {
    "title": "SupCon (supervised contrastive learning)",
    "paper": "Khosla et al., NeurIPS 2020, arXiv 2004.11362",
    "task": "labelled images, two views each -> an encoder",
    "licence": "Apache-2.0",
    "verified": "loss and gradient equal pytorch-metric-learning's, and kNN on digits; no ImageNet number",
    "small": {"network": "tiny-resnet", "size": 32, "hidden": 32, "dim": 16},
}


class SupCon(Objective):
    """Encoder, head of two layers, L_out over all views; images without a label are left out of the loss."""

    def __init__(
        self, network: str = "resnet-50", size: int = 224, hidden: int = 2048, dim: int = 128, temperature: float = 0.1
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            hidden, dim: widths of the head.
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        self.student = with_head(body, head((body.features, hidden, dim), norm="none"))
        self.temperature = temperature

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        embedding = self.student(torch.cat(batch.images))
        label = batch.label.repeat(len(batch.images))
        return {"supcon": supervised_contrastive(embedding, label, self.temperature)}
