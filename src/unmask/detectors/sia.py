"""SIA: attention goes to the places that are surprising among their neighbours: there forgeries give themselves away.

The idea in three sentences. By information theory what is likely says little, and the small artefacts of a forgery are
unlikely among the skin round them. The self-information of a place is minus the logarithm of its likelihood, estimated
from how alike the patches around it are. Maps of a network are weighed by it, place by place and channel by channel.

Sun et al.: "An Information Theoretic Approach for Attention-Driven Face Forgery Detection", ECCV 2022. The estimate is
the paper's (a Gaussian kernel over neighbouring patches); bandwidth, radius and the layers around it are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "SIA (self-information attention)",
    "paper": "Sun et al., ECCV 2022",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "self-information by hand; layers around it are ours, from memory, no published weights or tables",
    "small": {"network": "tiny-efficientnet", "size": 32, "radius": 1},
}

CUTS = {  # the steps whose maps are weighed
    "efficientnet-b4": ("blocks.1", "blocks.3", "blocks.5"),
    "small-resnet": ("layer1", "layer2", "layer3"),
    "tiny-efficientnet": ("blocks.1", "blocks.3"),
}


class SIA(Detector):
    """EfficientNet-B4 with self-information attention after three of its stages; linear head, cross-entropy."""

    def __init__(
        self,
        network: Literal["efficientnet-b4", "small-resnet", "tiny-efficientnet"] = "efficientnet-b4",
        size: int = 256,
        radius: int = 2,
        bandwidth: float = 1.0,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            radius: of the neighbours that a patch is compared with, places.
            bandwidth: h of the kernel, in deviations of the maps.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.cuts = self.body.input(size), CUTS[network]
        self.attend = nn.ModuleList(_Attention(self.body.width(c), radius, bandwidth) for c in self.cuts)
        self.head = nn.Linear(self.body.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        x, before = self.body.normalised(image), None
        for cut, attend in zip(self.cuts, self.attend, strict=True):
            x = attend(self.body.run(x, before, cut))
            before = cut
        features = self.body.run(x, before).mean((2, 3))
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


class _Attention(nn.Module):
    """x + x S C: S in 0..1 of each place, C in 0..1 of each channel, both read from the self-information of x."""

    def __init__(self, width: int, radius: int, bandwidth: float) -> None:
        super().__init__()
        narrow = max(width // 16, 4)
        self.place = nn.Conv2d(2, 1, 7, padding=3)
        self.channel = nn.Sequential(nn.Linear(width, narrow), nn.ReLU(), nn.Linear(narrow, width))
        self.radius, self.bandwidth = radius, bandwidth

    def forward(self, x: Tensor) -> Tensor:
        spread = x.flatten(2).var(2, correction=0).add(1e-6).sqrt()[:, :, None, None]
        information = self_information(x / spread, self.radius, self.bandwidth)
        both = torch.cat([information.mean(1, keepdim=True), information.amax(1, keepdim=True)], 1)
        channel = self.channel(information.mean((2, 3)))[:, :, None, None]
        weighed: Tensor = x + x * self.place(both).sigmoid() * channel.sigmoid()
        return weighed


def self_information(maps: Tensor, radius: int, bandwidth: float) -> Tensor:
    """-log of the mean over neighbours of exp(-d / (2 h^2)), d the mean squared difference of 3 x 3 patches.

    Each channel by itself; neighbours are the patches shifted by up to `radius` places, itself left out; the border is
    repeated. At least 0; 0 in flat maps.

    Args:
        maps: (B, C, h, w).
    Returns: (B, C, h, w)
    """
    height, width = maps.shape[-2:]
    wide = F.pad(maps, [radius] * 4, mode="replicate")
    likelihood = torch.zeros_like(maps)
    shifts = [(a, b) for a in range(2 * radius + 1) for b in range(2 * radius + 1) if (a, b) != (radius, radius)]
    for down, right in shifts:
        difference = (maps - wide[..., down : down + height, right : right + width]).square()
        patch = F.avg_pool2d(F.pad(difference, [1] * 4, mode="replicate"), 3, stride=1)
        likelihood = likelihood + torch.exp(-patch / (2 * bandwidth**2))
    return -(likelihood / len(shifts)).clamp_min(1e-8).log()
