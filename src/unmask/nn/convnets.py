"""Convolutional networks by name: timm's own modules, built from their sizes, never downloaded.

A network starts with random weights; `ConvNet.start` fills it from a file of ImageNet weights in timm's layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.nn.backbones import HALF, IMAGENET, Rgb, fill
from unmask.nouns import InputSpec, UnmaskError


@dataclass(frozen=True)
class Network:
    """What a network of this name looks like.

    Attributes:
        norm: mean and deviation that its ImageNet weights were trained with, RGB in 0..1.
        build: number of input channels -> the module without its classifier, with random weights.
    """

    norm: tuple[Rgb, Rgb]
    build: Callable[[int], nn.Module]


class ConvNet(nn.Module):
    """(B, C, H, W) -> maps (B, D, h, w), a thirty-second of the side. Its first three channels are RGB in 0..1."""

    def __init__(self, name: str, channels: int = 3) -> None:
        """
        Args:
            name: a name in `NETWORKS`.
            channels: C; what comes after RGB goes in as it is, without normalisation.
        Raises: UnmaskError for an unknown name.
        """
        super().__init__()
        if name not in NETWORKS:
            raise UnmaskError(f"there is no network {name!r}; there is {', '.join(NETWORKS)}")
        self.name, self.channels = name, channels
        kind = NETWORKS[name]
        self.norm = kind.norm
        self.body = kind.build(channels)
        self.features = int(self.body.num_features)  # type: ignore[arg-type]
        for key, value, rest in zip(("mean", "std"), kind.norm, (0.0, 1.0), strict=True):
            padded = (*value, *[rest] * (channels - 3))
            self.register_buffer(key, torch.tensor(padded).view(1, channels, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.body.forward_features((image - self.mean) / self.std)  # type: ignore[operator]
        return maps

    def pooled(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D): the mean over places."""
        pooled: Tensor = self(image).mean((2, 3))
        return pooled

    def input(self, size: int) -> InputSpec:
        """Faces cut as DeepfakeBench cuts them, 1.3 times the template, in the normalisation of this network."""
        return InputSpec(size=size, margin=1.3, mean=self.norm[0], std=self.norm[1])

    def start(self, weights: Path) -> None:
        """Load ImageNet weights: a safetensors file in timm's layout; its classifier is left out.

        For more than three channels the first convolution is repeated over them, scaled so that its sum stays.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise UnmaskError(f"cannot read the weights {weights}: {error}") from error
        own = self.body.state_dict()
        state = {k: v for k, v in state.items() if k in own or k.split(".")[0] not in ("fc", "classifier", "head")}
        if self.channels != 3:
            first = next(k for k, v in own.items() if v.ndim == 4)
            if first in state:
                state[first] = _widened(state[first], self.channels)
        fill(self.body, state, str(weights))


def _widened(kernel: Tensor, channels: int) -> Tensor:
    """(O, 3, h, w) -> (O, channels, h, w)"""
    times = -(-channels // kernel.shape[1])
    return kernel.repeat(1, times, 1, 1)[:, :channels] * (kernel.shape[1] / channels)


def _timm(name: str) -> Callable[[int], nn.Module]:
    def build(channels: int) -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels)

    return build


def _tiny_xception(channels: int) -> nn.Module:
    from timm.models.xception_aligned import XceptionAligned

    blocks = [{"in_chs": 64, "out_chs": 64, "stride": 2}, {"in_chs": 64, "out_chs": 96, "stride": 2}]
    return XceptionAligned(blocks, num_classes=0, in_chans=channels)


NETWORKS = {
    "xception": Network(HALF, _timm("legacy_xception")),  # Chollet, CVPR 2017; the others of timm are DeepLab's
    "efficientnet-b4": Network(IMAGENET, _timm("efficientnet_b4")),  # Tan and Le, ICML 2019
    "resnet-34": Network(IMAGENET, _timm("resnet34")),  # He et al., CVPR 2016
    "resnet-50": Network(IMAGENET, _timm("resnet50")),
    # No published weights for faces: small enough for a CPU and for tests.
    "tiny-xception": Network(HALF, _tiny_xception),
    "tiny-efficientnet": Network(IMAGENET, _timm("test_efficientnet")),
    "tiny-resnet": Network(IMAGENET, _timm("test_resnet")),
}
