"""PixPro: a spot of an image looks alike in every crop that shows it, place by place.

The idea in three sentences. Two crops of one image are encoded to feature maps, and where each place lies in the image
is known from the crops' boxes. Each place of one map is first smoothed by the places of its own map that resemble it
(pixel propagation), and must then agree with the places of the other map, seen by a momentum encoder, that show the
same spot. There are no negatives: propagation on one side and momentum on the other keep the maps from collapsing.

Xie et al.: "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning",
CVPR 2021, arXiv 2011.10043. The paper's loss is half of that of the authors' code; here it is the code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.nn.convnets import ConvNet
from unmask.nn.correspondence import bin_distance
from unmask.nn.dense import DenseBranch, two_views
from unmask.nn.heads import head
from unmask.nn.momentum import MomentumEncoder, cosine_momentum
from unmask.nn.precision import full
from unmask.nn.predictive import negative_cosine

CARD = {
    "title": "PixPro (pixel-level consistency)",
    "paper": "Xie et al., CVPR 2021, arXiv 2011.10043",
    "task": "two crops of an image and their boxes -> maps that agree place by place",
    "licence": "Apache-2.0",
    "verified": "pairs against a brute-force search, propagation and loss by hand; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 64, "width": 16, "hidden": 32},
}


def propagate(z: Tensor, value: Tensor, gamma: float = 2.0) -> Tensor:
    """Pixel propagation: y_i = sum_j max(cos(z_i, z_j), 0)^gamma g_j, over all places j of the map, i too.

    Args:
        z: (B, D, H, W), of any length: the similarity is of directions.
        value: g, (B, D', H, W).
        gamma: 0 gives every place the sum of all, a large one leaves each place its own value.
    Returns: float32 or wider (B, D', H, W), not normalised.
    """
    with torch.autocast(z.device.type, enabled=False):  # sums of H W terms: half precision has no room for them
        z, value = full(z), full(value)
        unit = F.normalize(z.flatten(2), dim=1)
        similarity = (unit.transpose(1, 2) @ unit).clamp(min=0)
        if 0 < gamma < 1:
            similarity = similarity + 1e-6  # the root's slope at 0 is infinite
        return (value.flatten(2) @ similarity.pow(gamma)).view_as(value)


def consistency(y: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """-2 times the mean cosine over positive pairs, mean over images; an image without a pair counts as 0.

    Args:
        y, target: (B, D, H, W), of any length.
        positive: (B, HW, HW), pairs of a place of `y` and one of `target`.
    """
    with torch.autocast(y.device.type, enabled=False):
        y, target = (F.normalize(full(x).flatten(2), dim=1) for x in (y, target))
        cosine = y.transpose(1, 2) @ target
        return -2 * ((cosine * positive).sum((1, 2)) / (positive.sum((1, 2)) + 1e-6)).mean()


def pixpro_loss(y1: Tensor, y2: Tensor, target1: Tensor, target2: Tensor, positive: Tensor) -> Tensor:
    """Both directions together, in -4..4.

    Args:
        y1, y2: propagated maps of the two views, (B, D, H, W).
        target1, target2: the momentum encoder's maps; no gradient flows to them.
        positive: (B, HW, HW), places of view 1 by places of view 2.
    """
    return consistency(y1, target2.detach(), positive) + consistency(y2, target1.detach(), positive.transpose(1, 2))


class PixPro(Objective):
    """The encoder's last maps, a 1 x 1 projector and propagation, against a momentum copy of the first two."""

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 224,
        width: int = 256,
        hidden: int = 4096,
        gamma: float = 2.0,
        transform: Literal[0, 1, 2] = 1,
        threshold: float = 0.7,
        momentum: float = 0.99,
        instance: float = 0.0,
    ) -> None:
        """
        Args:
            width, hidden: channels of the projection, and of the projector's inner layer.
            gamma: sharpness of propagation.
            transform: layers that make the values from the projection.
            threshold: distance in bins' diagonals below which two places are a pair. 0.7 lies just under that of
                neighbours, 1 / sqrt 2: at 0.71 all of them are pairs.
            momentum: at the start; it rises to 1 over the run by a cosine.
            instance: weight of the same comparison of whole images; 0 leaves it out.
        """
        super().__init__()
        self.online = DenseBranch(network, hidden, width)
        self.target = MomentumEncoder(self.online)
        self.value = head([width] * (transform + 1), maps=True) if transform else nn.Identity()
        self.input = self.encoder.input(size)
        self.gamma, self.threshold, self.start, self.instance = gamma, threshold, momentum, instance
        if instance:
            self.whole = head([self.encoder.features, hidden, width])
            self.whole_target = MomentumEncoder(self.whole)
            self.predictor = head([width, hidden, width])

    @property
    def encoder(self) -> ConvNet:
        return self.online.encoder

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of two views of one size. Raises: UnmaskError for others."""
        views = two_views(batch.images)
        maps, z = zip(*(self.online(v) for v in views), strict=True)
        taught, target = zip(*(self.target(v) for v in views), strict=True)
        y1, y2 = (propagate(x, F.normalize(self.value(x), dim=1), self.gamma) for x in z)
        height, width = y1.shape[2:]
        positive = bin_distance(batch.boxes[0], batch.boxes[1], height, width) < self.threshold
        found = {"pixel": pixpro_loss(y1, y2, target[0], target[1], positive)}
        if self.instance:
            found["instance"] = self.instance * self.alike(maps, taught)
        return found

    def alike(self, maps: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
        """-2 cos of whole images, both directions, in -4..4, as in BYOL. Both: the encoders' maps of the two views."""
        p1, p2 = (self.predictor(self.whole(x.mean((2, 3)))) for x in maps)
        t1, t2 = (self.whole_target(x.mean((2, 3))) for x in taught)
        return 2 * (negative_cosine(p1, t2) + negative_cosine(p2, t1))

    def updated(self, engine: Engine) -> None:
        momentum = cosine_momentum(self.start, engine.done)
        self.target.follow(self.online, momentum)
        if self.instance:
            self.whole_target.follow(self.whole, momentum)

    def load_pretrained(self, weights: Path) -> None:
        """ImageNet weights in timm's layout, for the teacher too."""
        self.encoder.load_pretrained(weights)
        self.target.follow(self.online, 0)
