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
        build: the module without its classifier, with random weights.
    """

    norm: tuple[Rgb, Rgb]
    build: Callable[[], nn.Module]


class ConvNet(nn.Module):
    """(B, 3, H, W) RGB in 0..1 -> maps (B, D, h, w), a thirty-second of the side; it owns its normalisation."""

    def __init__(self, name: str) -> None:
        """Raises: UnmaskError for a name that is not in `NETWORKS`."""
        super().__init__()
        if name not in NETWORKS:
            raise UnmaskError(f"there is no network {name!r}; there is {', '.join(NETWORKS)}")
        kind = NETWORKS[name]
        self.name, self.norm, self.body = name, kind.norm, kind.build()
        self.features = int(self.body.num_features)  # type: ignore[arg-type]
        for key, value in zip(("mean", "std"), kind.norm, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.body.forward_features((image - self.mean) / self.std)  # type: ignore[operator]
        return maps

    def pooled(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D): the mean over places."""
        pooled: Tensor = self(image).mean((2, 3))
        return pooled

    def input(self, size: int) -> InputSpec:
        """Faces cut as DeepfakeBench cuts them, 1.3 times the template, in the normalisation of this network."""
        return InputSpec(size=size, margin=1.3, mean=self.norm[0], std=self.norm[1])

    def start(self, weights: Path) -> None:
        """Load ImageNet weights: a safetensors file in timm's layout; its classifier is left out.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise UnmaskError(f"cannot read the weights {weights}: {error}") from error
        self.fill(state, str(weights))

    def fill(self, state: dict[str, Tensor], what: str) -> None:
        """The same, of tensors that `what` held."""
        own = self.body.state_dict()
        state = {k: v for k, v in state.items() if k in own or k.split(".")[0] not in ("fc", "classifier", "head")}
        fill(self.body, state, what)


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=0)

    return build


def _tiny_xception() -> nn.Module:
    from timm.models.xception_aligned import XceptionAligned

    blocks = [{"in_chs": 64, "out_chs": 64, "stride": 2}, {"in_chs": 64, "out_chs": 96, "stride": 2}]
    return XceptionAligned(blocks, num_classes=0)


def _small_resnet() -> nn.Module:
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, (1, 1, 1, 1), channels=(32, 64, 128, 256), num_classes=0)


NETWORKS = {
    "xception": Network(HALF, _timm("legacy_xception")),  # Chollet, CVPR 2017; the others of timm are DeepLab's
    "efficientnet-b4": Network(IMAGENET, _timm("efficientnet_b4")),  # Tan and Le, ICML 2019
    "efficientnet-b1": Network(IMAGENET, _timm("efficientnet_b1")),
    "resnet-34": Network(IMAGENET, _timm("resnet34")),  # He et al., CVPR 2016
    "resnet-50": Network(IMAGENET, _timm("resnet50")),
    # No published weights. One that a CPU trains in minutes, on which methods can be compared (1.2 M weights) ...
    "small-resnet": Network(IMAGENET, _small_resnet),
    # ... and those small enough for tests.
    "tiny-xception": Network(HALF, _tiny_xception),
    "tiny-efficientnet": Network(IMAGENET, _timm("test_efficientnet")),
    "tiny-resnet": Network(IMAGENET, _timm("test_resnet")),
}
