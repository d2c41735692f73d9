"""NPR: neighbouring pixels of a generated image depend on each other as its up-sampling left them.

The idea in three sentences. Generators enlarge their maps, and the pixels of a 2 x 2 cell then come from one value and
stay close to each other in a way of their own. The residual of each pixel to the first one of its cell shows that and
hides what the image shows. A small ResNet, cut after its second group and trained from nothing, reads the residual.

Tan et al.: "Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake
Detection", CVPR 2024, arXiv 2312.10461.

Resizing an image destroys the cue, JPEG changes it, and cropping by an odd number of pixels moves the cells: whole
images come as tiles of their own pixels, at even places (`unmask.tiling`). Real images are often JPEG where generated
ones are PNG: test with matched compression before you believe a number.

Where it differs from the paper or from DeepfakeBench. One logit and binary cross-entropy there, two classes here: the
same function. Images of odd size lose their last row or column instead of failing. The factor 2/3 and the residual
after normalisation are the code's, not the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.errors import InputError
from unmask.nn.backbones import IMAGENET
from unmask.types import InputSpec

CARD = {
    "title": "NPR (neighbouring-pixel residual)",
    "paper": "Tan et al., CVPR 2024, arXiv 2312.10461",
    "task": "an image, or one face -> real or generated",
    "evidence": "frequency, noise",
    "answers": ("face", "whole"),
    "licence": "Apache-2.0; the authors' code and weights name no licence",
    "verified": "residual and published layout on random weights; not the published weights or tables",
    "small": {"size": 32},
}


class NPR(Detector):
    """Residual of neighbours, ResNet-50 up to its second group with a 3 x 3 stem, mean over places, linear head."""

    def __init__(self, size: int = 224, margin: float = 0.0, tiles: int = 4) -> None:
        """
        Args:
            size: side of the image, pixels. Odd images lose their last row or column.
            margin: 0 = whole images, as in the paper; 1.3 = aligned faces, whose cells the alignment resamples.
            tiles: of a whole image, at most; their pixels are its own, and their cells lie as its own do.
        """
        super().__init__()
        tiles = 0 if margin else tiles
        self.input = InputSpec(size=size, margin=margin, tiles=tiles, mean=IMAGENET[0], std=IMAGENET[1])
        self.body = _resnet()
        self.head = nn.Linear(512, len(self.classes))
        self.register_buffer("std", torch.tensor(self.input.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Output:
        # After normalisation, as in the authors' code: the mean cancels. The factor 2/3 is theirs, not the paper's.
        features = self.body(residual(image) / self.std * (2 / 3)).mean((2, 3))  # type: ignore[operator]
        return Output(self.head(features), features)


def residual(image: Tensor) -> Tensor:
    """n(2i + a, 2j + b) = x(2i + a, 2j + b) - x(2i, 2j) for a, b in {0, 1}: the paper's equation for l = 2.

    Args:
        image: (B, C, H, W); an odd last row or column is left out.
    Returns: (B, C, H - H % 2, W - W % 2)
    Raises: UnmaskError for an image without a 2 x 2 cell.
    """
    height, width = image.shape[-2:]
    if min(height, width) < 2:
        raise InputError(f"an image of {width} x {height} pixels has no neighbours to compare: give 2 x 2 or more")
    even = image[..., : height - height % 2, : width - width % 2]
    return even - F.interpolate(even[..., ::2, ::2], scale_factor=2.0, mode="nearest")


def _resnet() -> nn.Sequential:
    """The names are those of the published checkpoint."""
    from collections import OrderedDict

    from torchvision.models.resnet import Bottleneck, ResNet

    whole = ResNet(Bottleneck, [3, 4, 1, 1])
    stem = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    parts = {"bn1": whole.bn1, "relu": whole.relu, "maxpool": whole.maxpool}
    return nn.Sequential(OrderedDict(conv1=stem, **parts, layer1=whole.layer1, layer2=whole.layer2))
