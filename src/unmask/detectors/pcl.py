"""PCL: patches of a real image come from one source, and a network learns to tell, for each two patches, whether they
do.

The idea in three sentences. Whatever makes an image leaves its traces everywhere in it, and in a face swap two sources
stand side by side. Middle maps of the network are compared place with place, 16 x 16 against 16 x 16, and each pair is
told whether both patches hold equal shares of the foreign image. Inconsistent images for that are made while training
(the generator `i2g`); the classifier sits on the last maps.

Zhao et al.: "Learning Self-Consistency for Deepfake Detection", ICCV 2021, arXiv 2012.09311: patch-wise consistency
learning (PCL) with the inconsistency image generator (I2G). Weight 10 from memory; DeepfakeBench has 1 on an Xception.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn.consistency import consistency
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "PCL (patch-wise consistency learning)",
    "paper": "Zhao et al., ICCV 2021, arXiv 2012.09311",
    "task": "one aligned face -> real or fake, and how alike the sources of each two patches are",
    "evidence": "blending",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "targets equal the generator's, the volume by hand; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 64},
}

CUTS = {"resnet-34": "layer3", "small-resnet": "layer3", "tiny-resnet": "layer3", "xception": "block11"}


class PCL(Detector):
    """ResNet-34 with a consistency volume on its third stage; linear head; L = CE + `weight` BCE of the volume."""

    def __init__(
        self,
        network: Literal["resnet-34", "xception", "small-resnet", "tiny-resnet"] = "resnet-34",
        size: int = 256,
        weight: float = 10.0,
    ) -> None:
        """`size`: side of the crop, pixels; a sixteenth of it is the side of the grid of patches."""
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.cut = self.body.input(size), CUTS[network]
        width = self.body.width(self.cut)
        self.one, self.other = (nn.Conv2d(width, width, 1) for _ in range(2))
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.weight = weight

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch without masks."""
        if batch.mask is None:
            raise RecipeError("pcl learns from masks: set masks: true in the recipe, and forge: {i2g: 1.0}")
        out, maps = self._seen(batch.image)
        target = consistency(batch.mask, maps.shape[-1])
        agree = consistency_loss(volume(self.one(maps), self.other(maps)), target)
        return {"cls": cross_entropy(out.logits, batch), "consistency": self.weight * agree}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor]:
        maps = self.body.run(self.body.normalised(image), until=self.cut)
        features = self.body.run(maps, self.cut).mean((2, 3))
        return Output(self.head(features), features), maps


def volume(one: Tensor, other: Tensor) -> Tensor:
    """Logits of the consistency of each two places: f_i g_j / sqrt(C), (B, C, h, w) twice -> (B, h w, h w)."""
    logits: Tensor = one.flatten(2).transpose(1, 2) @ other.flatten(2) / one.shape[1] ** 0.5
    return logits


def consistency_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over the pairs of patches whose target is known."""
    known = ~target.isnan()
    each = F.binary_cross_entropy_with_logits(logit.float(), target.nan_to_num(), reduction="none")
    return (each * known).sum() / torch.clamp(known.sum(), min=1)
