"""SimCLR: of all views in the batch, find the other view of your own image.

The idea in three sentences. Each image is augmented twice, and both views pass one encoder and a small projection head.
A view's embedding must be nearer to that of its twin than to those of all other images in the batch, which are its
negatives. The head is thrown away after training, for what it loses (colour, orientation) may matter later.

Chen et al.: "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, arXiv 2002.05709.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import nt_xent
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head, with_head

CARD = {
    "title": "SimCLR",
    "paper": "Chen et al., ICML 2020, arXiv 2002.05709",
    "task": "two views of each image -> an encoder",
    "licence": "Apache-2.0",
    "verified": "loss and gradient equal lightly's, and kNN on digits after training; no ImageNet number",
    "small": {"network": "tiny-resnet", "size": 32, "hidden": 32, "dim": 16},
}


class SimCLR(Objective):
    """Encoder, head of two layers with batch normalisation behind both, NT-Xent over the views of all processes."""

    def __init__(
        self, network: str = "resnet-50", size: int = 224, hidden: int = 2048, dim: int = 128, temperature: float = 0.5
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            hidden, dim: widths of the head.
            temperature: 0.1 suits large batches and long training, 0.5 short training (the paper's table 5).
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        self.student = with_head(body, head((body.features, hidden, dim), last_norm="batch"))
        self.temperature = temperature

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        one, other = self.student(torch.cat(batch.images)).chunk(2)
        return {"nt_xent": nt_xent(one, other, self.temperature)}
