"""Convolutional networks by name: timm's own modules, built from their sizes, never downloaded.

A network starts with random weights; `ConvNet.load_pretrained` fills it with ImageNet weights in timm's layout.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.errors import BundleError, UnknownMethodError
from unmask.nn import efficientnet_static
from unmask.nn.backbones import HALF, IMAGENET, Rgb, fill
from unmask.types import InputSpec


@dataclass(frozen=True)
class Network:
    """What a network of this name looks like.

    Attributes:
        norm: mean and deviation that its ImageNet weights were trained with, RGB in 0..1.
        build: (channels of the input) -> the module without its classifier, with random weights.
    """

    norm: tuple[Rgb, Rgb]
    build: Callable[[int], nn.Module]


class ConvNet(nn.Module):
    """(B, 3, H, W) RGB in 0..1 -> maps (B, D, h, w), a thirty-second of the side; it owns its normalisation.

    Its `steps` run one after the other, so that a method can look in between, or leave some out.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, inside: int = 3, without: Collection[str] = ()) -> None:
        """
        Args:
            name: of `NETWORKS`.
            inside: channels of the input; where they are not RGB, normalise them and call `run`.
            without: names of steps to leave out.
        Raises: UnmaskError for an unknown name.
        """
        super().__init__()
        if name not in NETWORKS:
            raise UnknownMethodError(f"there is no network {name!r}; there is {', '.join(NETWORKS)}")
        kind = NETWORKS[name]
        self.name, self.norm, self.inside, self.without = name, kind.norm, inside, frozenset(without)
        self.body = kind.build(inside)
        for step in without:
            self.body.set_submodule(step, nn.Identity())
        self.features = self.width() if without else int(self.body.num_features)  # type: ignore[arg-type]
        for key, value in zip(("mean", "std"), kind.norm, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.run(self.normalised(image))

    def normalised(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The parts of `body` by name, in the order in which they run."""
        found: dict[str, nn.Module] = {}
        for name, part in self.body.named_children():
            if name in CLASSIFIER:
                break
            inner = part.named_children() if name in ("stem", "blocks", "features") else [("", part)]
            found |= {f"{name}.{n}".removesuffix("."): step for n, step in inner}
        return found

    def run(self, maps: Tensor, after: str | None = None, until: str | None = None) -> Tensor:
        """Take normalised pixels, or the maps that the step `after` gave, through the steps that follow, `until` one.

        With `until` = `after` the maps come back as they are.
        """
        names = list(self.steps)
        first, last = (names.index(n) + 1 if n else None for n in (after, until))
        for name in names[first:last]:
            maps = self.body.get_submodule(name)(maps)
        return maps

    def width(self, until: str | None = None) -> int:
        """Number of channels that the step `until`, or the last one, gives."""
        with torch.device("meta"):
            bare = NETWORKS[self.name].build(self.inside).eval()
            maps = torch.zeros(1, self.inside, 64, 64)
        for name in self.steps:
            maps = maps if name in self.without else bare.get_submodule(name)(maps)
            if name == until:
                break
        return maps.shape[1]

    def pooled(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D): the mean over places."""
        pooled: Tensor = self(image).mean((2, 3))
        return pooled

    def input(self, size: int) -> InputSpec:
        """Faces cut as DeepfakeBench cuts them, 1.3 times the template, in the normalisation of this network."""
        return InputSpec(size=size, margin=1.3, mean=self.norm[0], std=self.norm[1])

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights: a safetensors file in timm's layout; its classifier is left out.

        Where the input has other channels than RGB, the first filters are repeated over them, times 3 / channels.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        self.fill(state, str(weights))

    def fill(self, state: dict[str, Tensor], what: str) -> None:
        """The same, of tensors that `what` held."""
        own, left_out = self.body.state_dict(), (*CLASSIFIER, *self.without)
        state = {k: v for k, v in state.items() if k in own or not k.startswith(tuple(f"{n}." for n in left_out))}
        first = next(iter(own))
        if self.inside != 3 and first in state:
            from timm.models import adapt_input_conv

            state[first] = adapt_input_conv(self.inside, state[first])
        fill(self.body, state, what)


PLAIN: tuple[Rgb, Rgb] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CLASSIFIER = ("global_pool", "pre_logits", "fc", "classifier", "head")  # timm's names of what follows the maps


def _timm(name: str) -> Callable[[int], nn.Module]:
    def build(inside: int) -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=0, in_chans=inside)

    return build


def _vgg19(inside: int) -> nn.Module:
    body = _timm("vgg19")(inside)
    body.pre_logits = nn.Identity()  # two dense layers that are no use without the classifier
    return body


def _tiny_xception(inside: int) -> nn.Module:
    from timm.models.xception_aligned import XceptionAligned

    blocks = [{"in_chs": 64, "out_chs": 64, "stride": 2}, {"in_chs": 64, "out_chs": 96, "stride": 2}]
    return XceptionAligned(blocks, num_classes=0, in_chans=inside)


def _full(build: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    """A ResNet whose first convolution and pooling have no stride, as ImagiNet's: four times the side everywhere."""

    def built(inside: int) -> nn.Module:
        body = build(inside)
        first = next(m for m in body.get_submodule("conv1").modules() if isinstance(m, nn.Conv2d))
        first.stride = (1, 1)
        body.get_submodule("maxpool").stride = 1  # type: ignore[assignment]
        return body

    return built


def _small_resnet(inside: int) -> nn.Module:
    from timm.models.resnet import BasicBlock, ResNet

    widths = (32, 64, 128, 256)
    return ResNet(BasicBlock, (1, 1, 1, 1), channels=widths, num_classes=0, in_chans=inside)  # type: ignore[arg-type]


NETWORKS = {
    "xception": Network(HALF, _timm("legacy_xception")),  # Chollet, CVPR 2017; the others of timm are DeepLab's
    "efficientnet-b4": Network(IMAGENET, _timm("efficientnet_b4")),  # Tan and Le, ICML 2019
    "efficientnet-b1": Network(IMAGENET, _timm("efficientnet_b1")),
    "efficientnet-b4-static": Network(HALF, efficientnet_static.build),  # the pads of DeepfakeBench's checkpoints
    "efficientnet-b4-sbi": Network(PLAIN, partial(efficientnet_static.build, stem=True)),  # and those of SBI's
    "resnet-18": Network(IMAGENET, _timm("resnet18")),  # He et al., CVPR 2016
    "resnet-34": Network(IMAGENET, _timm("resnet34")),
    "resnet-50": Network(IMAGENET, _timm("resnet50")),
    "vgg-19": Network(IMAGENET, _vgg19),  # Simonyan and Zisserman, ICLR 2015
    "resnet-18-full": Network(IMAGENET, _full(_timm("resnet18"))),  # no early strides: ImagiNet, arXiv 2407.20020
    "resnet-50-full": Network(IMAGENET, _full(_timm("resnet50"))),
    # No published weights. One that a CPU trains in minutes, on which methods can be compared (1.2 M weights) ...
    "small-resnet": Network(IMAGENET, _small_resnet),
    # ... and those small enough for tests.
    "tiny-xception": Network(HALF, _tiny_xception),
    "tiny-efficientnet": Network(IMAGENET, _timm("test_efficientnet")),
    "tiny-resnet": Network(IMAGENET, _timm("test_resnet")),
    "small-resnet-full": Network(IMAGENET, _full(_small_resnet)),
    "tiny-resnet-full": Network(IMAGENET, _full(_timm("test_resnet"))),
}
