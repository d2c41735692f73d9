"""PixContrast: a spot of an image is told apart from the image's other spots, in every crop that shows it.

The idea in three sentences. Two crops of one image are encoded to feature maps, and where each place lies in the image
is known from the crops' boxes. Each place of one map is an anchor: the places of the other map within a short distance
are its positives, the rest of that map its negatives. The contrast runs within one image, so that what is learnt is
where things are and not which image it is.

Xie et al.: "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning",
CVPR 2021, arXiv 2011.10043, section 3.1; from memory, for the authors' code does not have it. PixPro is its successor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import info_nce
from unmask.nn.convnets import ConvNet
from unmask.nn.correspondence import bin_distance
from unmask.nn.dense import DenseBranch, two_views
from unmask.nn.momentum import MomentumEncoder, cosine_momentum
from unmask.nn.precision import full

CARD = {
    "title": "PixContrast (pixel-level contrast)",
    "paper": "Xie et al., CVPR 2021, arXiv 2011.10043, section 3.1",
    "task": "two crops of an image and their boxes -> maps in which each place knows its own",
    "licence": "Apache-2.0",
    "verified": "positive pairs against a brute-force search, loss by loops; from memory, the authors' code lacks it",
    "small": {"network": "tiny-resnet", "size": 64, "width": 16, "hidden": 32},
}


def pixel_contrast(anchor: Tensor, other: Tensor, positive: Tensor, temperature: float = 0.3) -> Tensor:
    """-log(sum of e^(cos/t) over positives / sum over all places of the other view), one direction.

    Mean over the anchors that have a positive, then over images; an image without one counts as 0.

    Args:
        anchor, other: (B, D, H, W), of any length.
        positive: (B, HW, HW), places of `anchor` by places of `other`.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, other = (F.normalize(full(x).flatten(2), dim=1) for x in (anchor, other))
        logits = anchor.transpose(1, 2) @ other / temperature
    each = info_nce(logits.flatten(0, 1), positive.flatten(0, 1), positives="set", reduction="none")
    return (each.view(positive.shape[:2]).sum(1) / positive.any(2).sum(1).clamp(min=1)).mean()


def pixcontrast_loss(
    x1: Tensor, x2: Tensor, target1: Tensor, target2: Tensor, positive: Tensor, temperature: float = 0.3
) -> Tensor:
    """Mean of both directions.

    Args:
        x1, x2: projected maps of the two views, (B, D, H, W).
        target1, target2: the momentum encoder's maps; no gradient flows to them.
        positive: (B, HW, HW), places of view 1 by places of view 2.
    """
    forth = pixel_contrast(x1, target2.detach(), positive, temperature)
    back = pixel_contrast(x2, target1.detach(), positive.transpose(1, 2), temperature)
    return (forth + back) / 2


class PixContrast(Objective):
    """The encoder's last maps and a 1 x 1 projector, against a momentum copy of them."""

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 224,
        width: int = 256,
        hidden: int = 4096,
        temperature: float = 0.3,
        threshold: float = 0.7,
        momentum: float = 0.99,
    ) -> None:
        """
        Args:
            width, hidden: channels of the projection, and of the projector's inner layer.
            threshold: distance in bins' diagonals below which two places are a pair, see `pixpro`.
            momentum: at the start; it rises to 1 over the run by a cosine.
        """
        super().__init__()
        self.online = DenseBranch(network, hidden, width)
        self.target = MomentumEncoder(self.online)
        self.input = self.encoder.input(size)
        self.temperature, self.threshold, self.start = temperature, threshold, momentum

    @property
    def encoder(self) -> ConvNet:
        return self.online.encoder

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of two views of one size. Raises: UnmaskError for others."""
        views = two_views(batch.images)
        (_, x1), (_, x2) = (self.online(v) for v in views)
        (_, target1), (_, target2) = (self.target(v) for v in views)
        height, width = x1.shape[2:]
        positive = bin_distance(batch.boxes[0], batch.boxes[1], height, width) < self.threshold
        return {"pixel": pixcontrast_loss(x1, x2, target1, target2, positive, self.temperature)}

    def updated(self, engine: Engine) -> None:
        self.target.follow(self.online, cosine_momentum(self.start, engine.done))

    def load_pretrained(self, weights: Path) -> None:
        """ImageNet weights in timm's layout, for the teacher too."""
        self.encoder.load_pretrained(weights)
        self.target.follow(self.online, 0)
