"""ArcFace: faces of one person lie close on a sphere, those of others an angle away.

The idea in three sentences. Each person has a centre on the unit sphere, and a face is classified by its cosine to all
centres. The angle to its own centre is widened by a margin before the softmax, so that a face must lie closer to its
person than classification alone would ask. After training the centres are thrown away, and the angle of two embeddings
says whether they show one person.

Deng et al.: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, arXiv 1801.07698. It serves
LSDA as a teacher of real faces; nothing here says who somebody is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.errors import RecipeError
from unmask.nn.angular import arcface_loss
from unmask.nn.iresnet import IResNet, Name
from unmask.types import InputSpec

CARD = {
    "title": "ArcFace (additive angular margin)",
    "paper": "Deng et al., CVPR 2019, arXiv 1801.07698",
    "task": "real faces and whose they are -> an encoder that tells people apart",
    "licence": "Apache-2.0",
    "verified": "the margin by hand; learns to tell unseen people apart; no published table was reproduced",
    "small": {"classes": 4, "network": "tiny-iresnet", "size": 32},
}


class ArcFace(Objective):
    """A residual network of faces, and a centre for each person of the training rows (`label: identity`)."""

    def __init__(
        self, classes: int, network: Name = "small-iresnet", size: int = 64, margin: float = 0.2, scale: float = 24.0
    ) -> None:
        """
        Args:
            classes: people; a recipe may leave it to the data.
            margin, scale: the paper has 0.5 and 64 for 85,000 people and a large network; with these a small one
                learns.
        """
        super().__init__()
        self.input = InputSpec(size=size, margin=1.3)
        self.network = IResNet(network)
        self.centres = nn.Parameter(F.normalize(torch.randn(classes, self.network.features), dim=1))
        self.margin, self.scale = margin, scale

    @property
    def encoder(self) -> IResNet:
        return self.network

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Rows of people that no training row shows are left out: validation is by pairs.

        Raises: UnmaskError for a batch in which nobody is known.
        """
        label = batch.label.repeat(len(batch.images))
        known = label >= 0
        if not known.any():
            if self.training:
                raise RecipeError("arcface learns from identities: give the recipe label: identity")
            return {"margin": self.centres.sum() * 0}
        embedding = self.network.embedding(torch.cat(batch.images)[known])
        return {"margin": arcface_loss(embedding, self.centres, label[known], self.margin, self.scale)}
