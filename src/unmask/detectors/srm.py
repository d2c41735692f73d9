"""SRM two-stream: the noise of an image, which forgeries do not copy, is looked at beside its colours.

The idea in three sentences. Networks that see colours learn the textures of one forgery method; the high frequencies
at its borders carry over to others. So fixed filters of steganalysis (SRM) make an image of noise, and a second
network reads it, fed at several scales with the noise of the first one's maps. The noise says where the colour stream
should look, both exchange what they see by attention, and a margin on the angle (AM-softmax) separates the classes.

Luo et al.: "Generalizing Face Forgery Detection with High-frequency Features", CVPR 2021, arXiv 2103.12376. Filters:
Fridrich and Kodovsky, "Rich Models for Steganalysis of Digital Images", TIFS 2012. AM-softmax: Wang et al., "Additive
Margin Softmax for Face Verification", SPL 2018, arXiv 1801.05599. Layers from memory and from DeepfakeBench's notes.

Where it differs from the paper or from DeepfakeBench. AM-softmax is on cosines, as its paper has it; DeepfakeBench's
copy gives it unbounded logits. The two attentions between the streams have no dense layer over places, which would
fix the size of the crop. Filters act on pixels in -1 to 1. The guide halves the noise twice and is resized to the
maps (DeepfakeBench: strides of 2 and 1, unpadded), and the streams are fused after the last ReLU (there before it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.nn.angular import additive_margin
from unmask.nn.convnets import ConvNet
from unmask.nn.crossing import Crossing

CARD = {
    "title": "SRM two-stream (high-frequency features)",
    "paper": "Luo et al., CVPR 2021, arXiv 2103.12376",
    "task": "one aligned face -> real or fake",
    "evidence": "frequency, noise",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "filters and AM-softmax by hand; layers from memory, no published weights or tables",
    "small": {"network": "tiny-xception", "size": 32, "margin": 0.1},
}

# The steps after which: noise is added, noise is added and guides, streams meet, streams meet again.
CUTS = {
    "xception": ("act1", "act2", "block3", "block7"),
    "small-resnet": ("maxpool", "layer1", "layer2", "layer3"),
    "tiny-xception": ("stem.0", "stem.1", "blocks.0", "blocks.1"),
}


class SRM(Detector):
    """Two networks, one on colours and one on noise, fused; logits are `scale` times the cosines to two directions."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        margin: float = 0.45,
        scale: float = 30.0,
    ) -> None:
        """`size`: side of the crop, pixels. `margin`, `scale`: m and s of AM-softmax; DeepfakeBench has 0.45 and 30."""
        super().__init__()
        self.colour, self.noise = ConvNet(network), ConvNet(network)
        self.input = self.colour.input(size)
        self.margin, self.scale, self.cuts = margin, scale, CUTS[network]
        first, second, third, fourth = (self.colour.width(c) for c in self.cuts)
        self.first, self.second = _Residuals(first), _Residuals(second)
        self.guide = _Guide(second)
        self.meet, self.meet_again = Crossing(third), Crossing(fourth)
        self.fuse = _Fuse(self.colour.features)
        self.head = nn.Linear(self.colour.features, len(self.classes), bias=False)

    def forward(self, image: Tensor) -> Output:
        x, (first, second, third, fourth) = self.colour.normalised(image), self.cuts
        noise = residual(x)
        x, y = self.colour.run(x, until=first), self.noise.run(noise, until=first)
        y = F.relu(y + self.first(x))
        x, y = self.colour.run(x, first, second), self.noise.run(y, first, second)
        y = F.relu(y + self.second(x))
        x = self.guide(x, noise)
        x, y = self.meet(self.colour.run(x, second, third), self.noise.run(y, second, third))
        x, y = self.meet_again(self.colour.run(x, third, fourth), self.noise.run(y, third, fourth))
        features = self.fuse(self.colour.run(x, fourth), self.noise.run(y, fourth)).mean((2, 3))
        cosine = F.linear(F.normalize(features.float(), dim=1), F.normalize(self.head.weight.float(), dim=1))
        return Output(self.scale * cosine, features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        cosine = self(batch.image).logits / self.scale
        return {"cls": cross_entropy(additive_margin(cosine, batch.label, self.margin, self.scale), batch)}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into both networks, in timm's layout, see `unmask.nn.convnets`."""
        self.colour.load_pretrained(weights)
        self.noise.load_pretrained(weights)


def residual(maps: Tensor, each: bool = False) -> Tensor:
    """What three filters of SRM leave of maps: second order in a square, in a 5 x 5 square, and along a row.

    Args:
        maps: (B, C, H, W), of about unit range.
        each: filter each channel by itself.
    Returns: (B, 3, H, W) summed over channels, or (B, 3 C, H, W); in -3..3
    """
    square = [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]]
    wide = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    row = [[0] * 5, [0] * 5, [0, 1, -2, 1, 0], [0] * 5, [0] * 5]
    kernel = torch.tensor([square, wide, row], dtype=maps.dtype, device=maps.device)[:, None]
    kernel = kernel / torch.tensor([4, 12, 2], dtype=maps.dtype, device=maps.device).view(3, 1, 1, 1)
    channels = maps.shape[1]
    if each:
        found = F.conv2d(maps, kernel.repeat(channels, 1, 1, 1), padding=2, groups=channels)
    else:
        found = F.conv2d(maps.sum(1, keepdim=True), kernel, padding=2)
    return found.clamp(-3, 3)


class _Residuals(nn.Module):
    """Noise of the colour stream's maps, mixed by a 1 x 1 convolution: what makes the noise stream multi-scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(3 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        mixed: Tensor = self.mix(residual(maps, each=True))
        return mixed


class _Guide(nn.Module):
    """x (1 + A): A in 0..1 says where the noise of the image is telling (residual-guided spatial attention)."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def layer(inside: int, out: int) -> list[nn.Module]:
            return [nn.Conv2d(inside, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

        self.look = nn.Sequential(*layer(3, width // 2), *layer(width // 2, width))
        self.where = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.after = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        seen = self.look(noise)
        place = torch.cat([seen.mean(1, keepdim=True), seen.amax(1, keepdim=True)], 1)
        attention = F.interpolate(self.where(place).sigmoid(), x.shape[-2:], mode="bilinear")
        guided: Tensor = self.after(x * (1 + attention))
        return guided


class _Fuse(nn.Module):
    """Both streams mixed, f (1 + A): A in 0..1 weighs the channels by their mean and their largest value."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        narrow = max(width // 16, 4)
        self.weigh = nn.Sequential(
            nn.Linear(width, narrow, bias=False), nn.ReLU(), nn.Linear(narrow, width, bias=False)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both: Tensor = self.mix(torch.cat([x, y], 1))
        weight: Tensor = (self.weigh(both.mean((2, 3))) + self.weigh(both.amax((2, 3)))).sigmoid()
        return both * (1 + weight[:, :, None, None])
