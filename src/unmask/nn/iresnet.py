"""ArcFace's residual network for faces, in the names of its published checkpoints.

Deng et al.: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, arXiv 1801.07698: blocks that
begin with a norm, PReLU, and no stride before the first block.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BundleError
from unmask.nn.backbones import HALF, fill

READOUT = ("fc.", "features.")  # what makes 512 numbers of the last maps; maps need none of it


@dataclass(frozen=True)
class Size:
    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]  # after each stage; before the first one as after it


SIZES = {
    "iresnet-50": Size((3, 4, 14, 3), (64, 128, 256, 512)),
    "iresnet-100": Size((3, 13, 30, 3), (64, 128, 256, 512)),
    # No published weights: `recipes/arcface-tiny.yaml` trains the first, the second is for tests. No stage has
    # fewer than 16 channels: a strided 1 x 1 map's gradient for 8, channels last, crashes on CPUs (torch 2.14).
    "small-iresnet": Size((1, 1, 1, 1), (16, 32, 64, 128)),
    "tiny-iresnet": Size((1, 1, 1, 1), (16, 16, 32, 32)),
}
Name = Literal["iresnet-50", "iresnet-100", "small-iresnet", "tiny-iresnet"]


class IResNet(nn.Module):
    """(B, 3, H, W) RGB in 0..1 -> maps (B, `features`, H / 16, W / 16), rounded up; it owns its normalisation."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: Name) -> None:
        super().__init__()
        size = SIZES[name]
        wide = size.channels[0]
        self.features = size.channels[-1]
        self.conv1, self.bn1, self.prelu = _conv(3, wide), nn.BatchNorm2d(wide), nn.PReLU(wide)
        for n, (blocks, channels) in enumerate(zip(size.blocks, size.channels, strict=True), 1):
            first, rest = Block(wide, channels, 2), [Block(channels, channels) for _ in range(blocks - 1)]
            self.add_module(f"layer{n}", nn.Sequential(first, *rest))
            wide = channels
        self.bn2 = nn.BatchNorm2d(wide)
        for key, value in zip(("mean", "std"), HALF, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1((image - self.mean) / self.std)))
        for n in range(1, 5):
            x = self.get_submodule(f"layer{n}")(x)
        maps: Tensor = self.bn2(x)
        return maps

    def embedding(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, `features`) of unit length: the mean over places; published readouts weigh them."""
        return F.normalize(self(image).mean((2, 3)), dim=1)

    def load(self, state: dict[str, Tensor], what: str) -> None:
        """Weights in ArcFace's layout. Raises: UnmaskError that names `what` and the tensors that do not fit."""
        fill(self, {k: v for k, v in state.items() if not k.startswith(READOUT)}, what)


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), _conv(before, after)
        self.bn2, self.prelu = nn.BatchNorm2d(after), nn.PReLU(after)
        self.conv2, self.bn3 = _conv(after, after, stride), nn.BatchNorm2d(after)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        past = x if self.downsample is None else self.downsample(x)
        y: Tensor = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + past


def _conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False)


def weights_under(weights: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose names begin so, without that. Raises: UnmaskError, if it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read the weights {weights}: {error}") from error
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
