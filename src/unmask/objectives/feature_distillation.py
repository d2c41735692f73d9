"""Feature distillation: a small vision transformer learns what an ImageNet network sees in faces, without labels.

The idea in three sentences. For each cell of a grid the student's patch token must give mean and spread of a teacher's
channels at four depths, from edges to parts of a face. Its class token must give the same over the whole face. Spread
keeps texture, which a mean over the cell loses.

After FitNets (Romero et al., ICLR 2015, arXiv 1412.6550); taps, targets and their standardisation are ours. It stands
in for CLIP where no large pre-trained encoder can be had.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.nn.backbones import Encoder
from unmask.nn.mobilenet import MobileNetV2, load_tflite
from unmask.types import InputSpec

CARD = {
    "title": "Feature distillation",
    "paper": "after Romero et al. (FitNets), ICLR 2015, arXiv 1412.6550; the targets are ours",
    "task": "real faces -> an encoder that predicts a teacher's features",
    "licence": "Apache-2.0",
    "verified": "cells and summary by hand; the student learns and the teacher does not",
    "small": {"backbone": "tiny-vit"},
}

CELLS = 8  # patches along a side of the student
TAPS = (3, 6, 13, 17)  # the teacher's blocks that end strides 4, 8, 16 and 32


def cells(maps: Tensor, side: int = CELLS) -> list[Tensor]:
    """(B, C, H, W) -> means (B, C, side, side), and standard deviations where a cell is more than a pixel."""
    mean = F.adaptive_avg_pool2d(maps, side)
    if maps.shape[-1] == side:
        return [mean]
    return [mean, (F.adaptive_avg_pool2d(maps.square(), side) - mean.square()).clamp_min(0).sqrt()]


def summary(target: Tensor) -> Tensor:
    """(B, N, C) -> (B, 2 C): mean and standard deviation over the face."""
    return torch.cat([target.mean(1), target.std(1)], 1)


class Teacher(nn.Module):
    """MobileNetV2, (B, 3, 256, 256) in 0..1 -> (B, 64, 624): each cell's mean and spread at four depths."""

    roles: ClassVar = {"": "frozen"}

    def __init__(self) -> None:
        super().__init__()
        self.body = MobileNetV2().requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher:
        """It stays as it is: in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        maps, found = image * 2 - 1, []
        for depth, layer in enumerate(self.body.layers[: TAPS[-1] + 1]):
            maps = layer(maps)
            if depth in TAPS:
                found += cells(maps)
        return torch.cat(found, 1).flatten(2).transpose(1, 2)


class FeatureDistillation(Objective):
    """L = mean squared error of cells + that of the whole face, of targets standardised over the batch: 2 = nothing
    learnt. Images come at 256 pixels, for the teacher; the student sees them at its own size."""

    def __init__(self, backbone: Literal["face-vit-128", "tiny-vit"] = "face-vit-128") -> None:
        """`backbone`: a CLIP tower with 8 x 8 patches."""
        super().__init__()
        self.input = InputSpec(size=256, margin=1.25)
        self.teacher, self.student = Teacher(), Encoder(backbone)
        width, channels = self.student.kind.features, self.teacher(torch.zeros(1, 3, 256, 256)).shape[2]
        self.patches, self.whole = nn.Linear(width, channels), nn.Linear(width, 2 * channels)
        self.cell_norm = nn.BatchNorm1d(channels, affine=False)
        self.face_norm = nn.BatchNorm1d(2 * channels, affine=False)

    @property
    def encoder(self) -> Encoder:
        return self.student

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.student(self.smaller(image))
        return features

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of the first view, (B, 3, 256, 256)."""
        image = batch.images[0]
        target = self.teacher(image)
        cell = self.cell_norm(target.flatten(0, 1)).view_as(target)
        face = self.face_norm(summary(target))
        small = self.smaller(image)
        out = self.student.body((small - self.student.mean) / self.student.std)  # type: ignore[operator]
        return {
            "cells": F.mse_loss(self.patches(out.last_hidden_state[:, 1:]), cell),
            "face": F.mse_loss(self.whole(out.pooler_output), face),
        }

    def smaller(self, image: Tensor) -> Tensor:
        """At the student's size."""
        side = self.student.kind.size
        return F.interpolate(image, size=(side, side), mode="area")

    def load_pretrained(self, weights: Path) -> None:
        """The teacher's ImageNet weights, a TFLite file. Raises: UnmaskError for one that does not fit."""
        load_tflite(self.teacher.body, weights)
