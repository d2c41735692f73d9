"""Maps of all scales of a network, brought to the finest of them: what is drawn pixel by pixel is drawn from these.

Sun et al., "High-Resolution Representations for Labeling Pixels and Regions", arXiv 1904.04514 (HRNetV2). Other
networks give the maps of their four stages.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BundleError
from unmask.nn.backbones import IMAGENET, fill
from unmask.nn.convnets import ConvNet
from unmask.types import InputSpec

STAGES = ("layer1", "layer2", "layer3", "layer4")
HRNETS = {"hrnet-w48": "hrnet_w48", "hrnet-w18": "hrnet_w18", "hrnet-w18-small": "hrnet_w18_small"}
HEAD = ("incre_modules", "downsamp_modules", "final_layer", "classifier")  # timm's, of ImageNet's classes


class MultiScale(nn.Module):
    """(B, 3, H, W) RGB in 0..1 -> (B, `features`, H / 4, W / 4); it owns its normalisation.

    "hrnet-w48", "hrnet-w18", "hrnet-w18-small", or a ResNet of `unmask.nn.convnets`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: str) -> None:
        super().__init__()
        self.body: nn.Module = _hrnet(HRNETS[network]) if network in HRNETS else ConvNet(network)
        for key, value in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)
        if isinstance(self.body, ConvNet):
            self.features = sum(self.body.width(stage) for stage in STAGES)
        else:
            self.features = sum(self.body.stage4_cfg["num_channels"])  # type: ignore[index]

    def input(self, size: int) -> InputSpec:
        return InputSpec(size=size, margin=1.3, mean=IMAGENET[0], std=IMAGENET[1])

    def forward(self, image: Tensor) -> Tensor:
        scales = self.scales((image - self.mean) / self.std)
        size = scales[0].shape[-2:]
        return torch.cat([scales[0], *(F.interpolate(maps, size, mode="bilinear") for maps in scales[1:])], 1)

    def scales(self, x: Tensor) -> list[Tensor]:
        """Normalised images -> the maps of each scale, the finest first."""
        if not isinstance(self.body, ConvNet):
            b = self.body  # timm runs the stages apart for those who do not classify
            x = b.act1(b.bn1(b.conv1(x)))  # type: ignore[operator]
            found: list[Tensor] = b.stages(b.act2(b.bn2(b.conv2(x))))  # type: ignore[operator]
            return found
        found, before = [], None
        for stage in STAGES:
            x = self.body.run(x, before, stage)
            found.append(x)
            before = stage
        return found

    def load_pretrained(self, weights: Path) -> None:
        """ImageNet weights in timm's layout. Raises: UnmaskError for a file that cannot be read, or does not fit."""
        if isinstance(self.body, ConvNet):
            self.body.load_pretrained(weights)
            return
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        fill(self.body, {k: v for k, v in state.items() if not k.startswith(HEAD)}, str(weights))


def _hrnet(name: str) -> nn.Module:
    import timm

    body = timm.create_model(name, pretrained=False, num_classes=0)
    for part in HEAD:
        setattr(body, part, None)
    return body
