"""STIL: one branch of each block looks for inconsistency over time, the other for it in space, and space helps time.

The idea in three sentences. Differences of neighbouring frames along rows and along columns show small movements that
a face does not make; they become an attention on the features of the first branch (temporal inconsistency module).
The second branch weighs its features by a coarse look at their surroundings (spatial inconsistency module, from SCNet).
What it found is handed over to the first (information supplement module), which then mixes neighbouring frames.

Gu, Chen, Yao, Ding, Li, Huang, Ma: "Spatiotemporal Inconsistency Learning for DeepFake Video Detection", ACM MM 2021,
arXiv 2109.01860. Backbone: SCNet-50 (Liu et al., CVPR 2020) in its v1d form, as in the authors' code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.nn.backbones import HALF
from unmask.types import InputSpec

CARD = {
    "title": "STIL (spatio-temporal inconsistency)",
    "paper": "Gu et al., ACM MM 2021, arXiv 2109.01860",
    "task": "8 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0",
    "verified": "differences of frames by hand; names and shapes of DeepfakeBench's layout; no published weights",
    "small": {"network": "tiny-scnet", "size": 32, "frames": 4},
}
SIZES = {  # width of the first stage, blocks of each, reduction of the temporal module
    "scnet-50": (64, (3, 4, 6, 3), 16),
    # No published weights: one that a CPU trains in minutes, and one for tests.
    "small-scnet": (32, (1, 1, 1), 4),
    "tiny-scnet": (16, (1, 1), 4),
}
COARSE = 4  # pooling of the coarse look
FOLDS = 8  # an eighth of the channels comes from the next frame, another from the one before


class STIL(Detector):
    """Blocks of two branches, mean over places, linear head on each frame, mean over frames, cross-entropy."""

    def __init__(
        self, network: Literal["scnet-50", "small-scnet", "tiny-scnet"] = "scnet-50", size: int = 224, frames: int = 8
    ) -> None:
        """`size`: side of the crop, pixels; `frames`: of a window, in a row."""
        super().__init__()
        self.input = InputSpec(size=size, frames=frames, mean=HALF[0], std=HALF[1])
        width, depths, reduction = SIZES[network]
        stem = width // 2
        self.stem = nn.Sequential(
            _conv(3, stem, 3, 2), nn.BatchNorm2d(stem), nn.ReLU(),
            _conv(stem, stem, 3), nn.BatchNorm2d(stem), nn.ReLU(),
            _conv(stem, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.stages, inside = nn.ModuleList(), width
        for n, depth in enumerate(depths):
            blocks = nn.Sequential()
            for block in range(depth):
                blocks.append(STILBlock(inside, width * 2**n, frames, 2 if n and not block else 1, reduction))
                inside = 4 * width * 2**n
            self.stages.append(blocks)
        self.head = nn.Linear(inside, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        maps = self.stem((image.flatten(0, 1) - HALF[0][0]) / HALF[1][0])
        for stage in self.stages:
            maps = stage(maps)
        features = maps.mean((2, 3)).unflatten(0, (-1, self.input.frames)).mean(1)
        return Output(self.head(features), features)  # the head is linear: the mean of its answers


class STILBlock(nn.Module):
    """A bottleneck of two branches; maps are (B T, C, h, w), the frames of a window one after the other."""

    def __init__(self, inside: int, planes: int, frames: int, stride: int, reduction: int) -> None:
        super().__init__()
        width, out = planes // 2, 4 * planes
        self.enter_time = nn.Sequential(_conv(inside, width, 1), nn.BatchNorm2d(width))
        self.enter_space = nn.Sequential(_conv(inside, width, 1), nn.BatchNorm2d(width))
        self.temporal = TemporalInconsistency(width, frames, reduction)
        self.supplement = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.mix = FrameMix(width, frames)
        self.time = nn.Sequential(_conv(width, width, 3), nn.BatchNorm2d(width))
        self.space = SpatialInconsistency(width)
        self.pool = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.leave = nn.Sequential(_conv(2 * width, out, 1), nn.BatchNorm2d(out))
        shrink = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        self.skip = nn.Identity() if inside == out and stride == 1 else nn.Sequential(
            shrink, _conv(inside, out, 1), nn.BatchNorm2d(out)
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        time, space = F.relu(self.enter_time(maps)), F.relu(self.enter_space(maps))
        space, weighed = self.space(space)
        time = self.mix(self.temporal(time) + supplemented(weighed, self.supplement))
        both = torch.cat([self.pool(F.relu(self.time(time))), self.pool(F.relu(space))], 1)
        return F.relu(self.leave(both) + self.skip(maps))


class TemporalInconsistency(nn.Module):
    """x (1 + attention), attention = mean over both directions of sigmoid(...) - 1/2 of what changes between frames."""

    def __init__(self, width: int, frames: int, reduction: int) -> None:
        super().__init__()
        self.frames, inner = frames, width // reduction
        self.squeeze = nn.Sequential(_conv(width, inner, 1), nn.BatchNorm2d(inner))
        self.rows = Direction(inner, width)
        self.columns = Direction(inner, width)

    def forward(self, maps: Tensor) -> Tensor:
        x = self.squeeze(maps).unflatten(0, (-1, self.frames))  # (B, T, c, h, w)
        # Columns of the image, each as a plane of height and time; then its rows, as planes of width and time.
        by_height = self.rows(x.permute(0, 4, 2, 3, 1).flatten(0, 1)).unflatten(0, (-1, x.shape[4]))
        by_width = self.columns(x.permute(0, 3, 2, 4, 1).flatten(0, 1)).unflatten(0, (-1, x.shape[3]))
        attention: Tensor = by_height.permute(0, 4, 2, 3, 1) + by_width.permute(0, 4, 2, 1, 3)
        return maps + maps * attention.flatten(0, 1) / 2


class Direction(nn.Module):
    """(N, c, s, T) -> (N, C, s, T) in -1/2..1/2: what changes from frame to frame along one side of the image."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(inner, inner, (3, 1), padding=(1, 0), groups=inner, bias=False)
        self.coarse = nn.Sequential(_along(inner), nn.BatchNorm2d(inner))
        self.fine = nn.Sequential(_along(inner), nn.BatchNorm2d(inner))
        self.widen = nn.Sequential(_conv(inner, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        change = differences(x, self.smooth(x))
        coarse = F.interpolate(self.coarse(F.avg_pool2d(change, (2, 1))), size=change.shape[2:])
        return torch.sigmoid(self.widen((change + coarse + self.fine(change)) / 3)) - 0.5


class SpatialInconsistency(nn.Module):
    """SCNet's self-calibration: features times a gate that has seen a coarse surrounding, and a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        across = nn.Conv2d(width, width, (1, 3), padding=(0, 1), bias=False)
        self.across = nn.Sequential(nn.AvgPool2d(COARSE), across, nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.Sequential(_along(width), nn.BatchNorm2d(width))
        self.gated = nn.Sequential(_conv(width, width, 3), nn.BatchNorm2d(width))
        self.last = nn.Sequential(_conv(width, width, 3), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Returns: the branch's maps, and the weighed ones that the other branch is handed."""
        surrounding = F.interpolate(self.down(self.across(maps)), size=maps.shape[2:])
        weighed = self.gated(maps) * torch.sigmoid(maps + surrounding)
        return self.last(weighed), weighed


class FrameMix(nn.Module):
    """Each channel mixes a frame with its neighbours; at first some take the next frame, some the one before."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.frames, fold = frames, width // FOLDS
        self.conv = nn.Conv1d(width, width, 3, padding=1, groups=width, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:fold, 0, 2] = 1
            self.conv.weight[fold : 2 * fold, 0, 0] = 1
            self.conv.weight[2 * fold :, 0, 1] = 1

    def forward(self, maps: Tensor) -> Tensor:
        x = maps.unflatten(0, (-1, self.frames))  # (B, T, C, h, w)
        mixed = self.conv(x.permute(0, 3, 4, 2, 1).flatten(0, 2))
        back: Tensor = mixed.unflatten(0, (-1, x.shape[3], x.shape[4])).permute(0, 4, 3, 1, 2)
        return back.flatten(0, 1)


def differences(x: Tensor, smooth: Tensor) -> Tensor:
    """(N, c, s, T) -> the same: the smoothed next frame less this frame; 0 for the last."""
    return F.pad(smooth[..., 1:] - x[..., :-1], (0, 1))


def supplemented(maps: Tensor, conv: nn.Conv1d) -> Tensor:
    """(N, C, h, w) times a gate for each channel, which looks at the means of three neighbouring channels."""
    gate = torch.sigmoid(conv(maps.mean((2, 3))[:, None]))[:, 0]
    return maps * gate[:, :, None, None]


def _conv(inside: int, out: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, out, side, stride, side // 2, bias=False)


def _along(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
