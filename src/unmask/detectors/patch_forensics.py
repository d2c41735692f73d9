"""Patch forensics: a network cut off early, so that each place of its maps sees a small patch of the image only.

The idea in three sentences. What a whole image shows differs from one data set to the next, but what a generator's
decoder leaves in small patches is shared by many generators. So an ImageNet network is cut off after a few blocks,
which limits its receptive field, and every place of its maps is classified. The image's score is the mean over places.

Chai et al.: "What Makes Fake Images Detectable? Understanding Properties that Generalize", ECCV 2020, arXiv 2008.10588.

Where it differs from the paper or from DeepfakeBench. The paper truncates ResNet-18 and Xception and puts a 1 x 1
convolution on the last map; here it is MobileNetV2. The mean over places of a linear classifier is the linear
classifier of the mean, and is computed so. The head reads every block, not the last alone, and beside the mean the
standard deviation over places: how strong a trace is, where the mean only tells its sign. The paper aligns faces; here
an image is cut into tiles at its own resolution, because aligning resamples the traces; margin 1.3 gives aligned faces.
What it does and does not carry over to generators it never saw: docs/tables/whole-images.md.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.backbones import IMAGENET
from unmask.nn.mobilenet import MobileNetV2, load_torchvision
from unmask.types import InputSpec

CARD = {
    "title": "Patch forensics (truncated network)",
    "paper": "Chai et al., ECCV 2020, arXiv 2008.10588",
    "task": "an image, or one face -> real or generated",
    "evidence": "spatial network",
    "answers": ("face", "whole"),
    "licence": "Apache-2.0",
    "verified": "pooling and receptive field by hand; not the published weights or tables",
    "small": {"size": 32, "blocks": 3},
}


class PatchForensics(Detector):
    """First blocks of MobileNetV2, mean and deviation over places of each, standardised, linear head."""

    def __init__(
        self, size: int = 128, margin: float = 0.0, tiles: int = 9, reduce: int = 1024, blocks: int = 8
    ) -> None:
        """
        Args:
            size: side of a tile, pixels.
            margin: 0 = whole images, 1.3 = aligned faces, as in the paper.
            tiles: of a whole image, at most.
            reduce: a whole image with a longer short side is reduced to it first; 0 = never.
            blocks: of MobileNetV2, its stem counted as one: 8 see 75 x 75 pixels each.
        """
        super().__init__()
        mean, std = IMAGENET
        tiles, reduce = (0, 0) if margin else (tiles, reduce)
        self.input = InputSpec(size=size, margin=margin, tiles=tiles, reduce=reduce, mean=mean, std=std)
        self.body = MobileNetV2().layers[:blocks].to(memory_format=torch.channels_last)
        channels = [
            [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][-1].num_features for block in self.body
        ]
        self.standardise = nn.BatchNorm1d(2 * sum(channels), affine=False)
        self.head = nn.Linear(2 * sum(channels), len(self.classes))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def load_pretrained(self, weights: Path) -> None:
        """Start from a safetensors file of torchvision's `mobilenet_v2`. Raises: UnmaskError for another one."""
        load_torchvision(self.body, weights)

    def forward(self, image: Tensor) -> Output:
        maps, found = (image - self.mean) / self.std, []  # type: ignore[operator]
        for block in self.body:
            maps = block(maps)
            found.append(moments(maps))
        features = self.standardise(torch.cat(found, 1))
        return Output(self.head(features), features)


def moments(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 2 C): the mean over places of each channel, then its standard deviation (of all places)."""
    mean = maps.mean((2, 3))
    variance = (maps - mean[:, :, None, None]).square().mean((2, 3))
    return torch.cat([mean, (variance + 1e-5).sqrt()], 1)  # the gradient of a root has no end at 0
