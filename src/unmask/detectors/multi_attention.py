"""Multi-attentional detection: forgeries differ in small places, so several maps of attention look at textures apart.

The idea in three sentences. Telling forgeries from real faces is more like telling kinds of birds than kinds of things:
what counts is fine, local, and in shallow maps. Several attention maps pool an enhanced texture place by place, and a
loss keeps what each pools near a centre of its own and the centres apart, so that they do not all look at the mouth. In
training a part that one map looks at is blurred, so that the others must do without.

Zhao et al.: "Multi-attentional Deepfake Detection", CVPR 2021, arXiv 2103.02406. Formulas from memory, layers and
constants as DeepfakeBench notes them.

Where it differs from the paper or from DeepfakeBench. Centres pass the batch's gradient on, without which the loss
that keeps them apart moves nothing (as in DeepfakeBench's copy). Their rate does not decay, and there are no ten
epochs of plain cross-entropy first. No mask keeps attention off the border. Cross-entropy is of the blurred image
alone; the authors' code adds that of the whole image, a matching loss of 0.1 and dropout on the global feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "Multi-attentional detection",
    "paper": "Zhao et al., CVPR 2021, arXiv 2103.02406",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "pooling, centres and their loss by hand; layers and constants from memory, no weights or tables",
    "small": {"network": "tiny-efficientnet", "size": 32, "middle": 16},
}

CUTS = {  # the steps that textures and attention are taken from, a quarter and a sixteenth of the side
    "efficientnet-b4": ("blocks.1", "blocks.4"),
    "small-resnet": ("layer1", "layer3"),
    "tiny-efficientnet": ("blocks.1", "blocks.3"),
}


class MultiAttention(Detector):
    """L = CE + `independence` L_RIL, on images of which a part that one attention map looks at is blurred."""

    centres: Tensor
    within: Tensor

    def __init__(
        self,
        network: Literal["efficientnet-b4", "small-resnet", "tiny-efficientnet"] = "efficientnet-b4",
        size: int = 256,
        maps: int = 4,
        middle: int = 256,
        independence: float = 1.0,
        rate: float = 0.05,
        blur: bool = True,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            maps: of attention.
            middle: width of the layers before the answer.
            independence: weight of the loss that keeps maps apart; 0 leaves it out.
            rate: alpha, with which centres follow the batches.
            blur: what one map looks at, in training.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.cuts = self.body.input(size), CUTS[network]
        shallow, deep = (self.body.width(c) for c in self.cuts)
        self.attend = nn.Sequential(
            *(nn.Conv2d(deep, deep, 3, padding=1, bias=False), nn.BatchNorm2d(deep), nn.ReLU()),
            *(nn.Conv2d(deep, maps, 1, bias=False), nn.BatchNorm2d(maps), nn.ELU()),
        )
        self.enhance = _Dense(shallow)
        dense, last = nn.Linear(maps * 4 * shallow, middle), nn.Linear(middle, middle)
        self.local = nn.Sequential(nn.Dropout(0.25), dense, nn.Hardswish(), last, nn.Hardswish())
        self.whole = nn.Sequential(nn.Linear(self.body.features, middle), nn.Hardswish())
        self.head = nn.Sequential(nn.Linear(2 * middle, middle), nn.Hardswish(), nn.Linear(middle, len(self.classes)))
        self.independence, self.rate, self.blur = independence, rate, blur
        self.register_buffer("centres", torch.zeros(maps, shallow))
        self.register_buffer("within", torch.tensor((0.05, 0.1)), persistent=False)  # margins of real and of forged

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        image = batch.image
        if self.blur and self.training:
            with torch.no_grad():
                image = _blurred(image, self.attention(image))
        out, texture = self._seen(image)
        terms = {"cls": cross_entropy(out.logits, batch)}
        if self.independence:
            centres = self.centres + self.rate * (texture - self.centres).mean(0)
            if self.training:
                self.centres.copy_(centres.detach())
            terms["independence"] = self.independence * (
                near(texture, centres, self.within[batch.label]) + apart(centres) / self.rate
            )
        return terms

    def attention(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, maps, h, w), 0 and more: where it looks."""
        return self._attention(self.body.run(self.body.normalised(image), until=self.cuts[1]))

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _attention(self, deep: Tensor) -> Tensor:
        maps: Tensor = self.attend(deep) + 1
        return maps

    def _seen(self, image: Tensor) -> tuple[Output, Tensor]:
        """The answer, and what each map pools of the coarse texture, (B, maps, C)."""
        first, second = self.cuts
        shallow = self.body.run(self.body.normalised(image), until=first)
        deep = self.body.run(shallow, first, second)
        attention = self._attention(deep)
        coarse = F.avg_pool2d(shallow, 4, ceil_mode=True)
        fine = shallow - F.interpolate(coarse, shallow.shape[-2:], mode="nearest")
        local = self.local(pooled(self.enhance(fine), attention).flatten(1))
        final, where = self.body.run(deep, second), attention.sum(1, keepdim=True)
        where = F.interpolate(where, final.shape[-2:], mode="bilinear", align_corners=True)
        whole = (final * where).sum((2, 3)) / where.sum((2, 3)).clamp_min(1e-6)
        features = torch.cat([local, self.whole(whole)], 1)
        return Output(self.head(features), features), pooled(coarse, attention)


def pooled(maps: Tensor, attention: Tensor) -> Tensor:
    """Bilinear attention pooling: sum over places of A_k F, at unit length.

    Args:
        maps: (B, C, H, W); attention: (B, M, h, w), resized to the maps.
    Returns: (B, M, C)
    """
    attention = F.interpolate(attention, maps.shape[-2:], mode="bilinear", align_corners=True)
    return F.normalize(torch.einsum("bmhw,bchw->bmc", attention, maps), dim=2)


def near(pooled: Tensor, centres: Tensor, margin: Tensor) -> Tensor:
    """Mean over maps and images of max(|V - c| - m, 0): forged faces may lie farther from the centre.

    Args:
        pooled: (B, M, C); centres: (M, C); margin: (B,).
    """
    away: Tensor = (pooled - centres).square().sum(2).add(1e-12).sqrt()
    return F.relu(away - margin[:, None]).mean()


def apart(centres: Tensor, margin: float = 0.2) -> Tensor:
    """Sum over pairs i < j of max(m - |c_i - c_j|, 0), over the number of maps M. Args: centres (M, C)."""
    i, j = torch.triu_indices(len(centres), len(centres), 1, device=centres.device)
    distance = (centres[i] - centres[j]).square().sum(1).add(1e-12).sqrt()
    return F.relu(margin - distance).sum() / len(centres)


class _Dense(nn.Module):
    """Texture enhancement: three densely connected convolutions, (B, C, H, W) -> (B, 4 C, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 1, bias=False)

        def step(n: int) -> nn.Sequential:
            grown = nn.Conv2d(n * width, width, 3, padding=1, bias=False)
            return nn.Sequential(nn.BatchNorm2d(n * width), nn.ReLU(), grown)

        self.steps = nn.ModuleList(step(n) for n in (1, 2, 3))
        last = nn.Conv2d(4 * width, 4 * width, 1, bias=False)
        self.last = nn.Sequential(nn.BatchNorm2d(4 * width), nn.ReLU(), last, nn.BatchNorm2d(4 * width))

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.first(maps)
        for step in self.steps:
            maps = torch.cat([maps, step(maps)], 1)
        enhanced: Tensor = self.last(maps)
        return enhanced


def _blurred(image: Tensor, attention: Tensor) -> Tensor:
    """Attention-guided augmentation: where one map of each image, drawn by its weight, looks, the image is blurred.

    The blur is half the size, a Gaussian of 11 x 11 pixels with deviation 7 and a little noise; a sigmoid at 0.4 to 0.6
    of the map's largest value says where.
    """
    sums = (attention.sum((2, 3)) + 1).sqrt()
    chosen = attention[torch.arange(len(image)), torch.multinomial(sums, 1)[:, 0]][:, None]
    chosen = F.interpolate(chosen, image.shape[-2:], mode="bilinear")
    chosen = chosen / chosen.amax((1, 2, 3), keepdim=True).clamp_min(1e-8)
    threshold, zoom = torch.empty(2).uniform_().mul(torch.tensor((0.2, 2.0))).add(torch.tensor((0.4, 3.0))).tolist()
    floor = torch.sigmoid(image.new_tensor(-threshold * zoom))
    where = (torch.sigmoid((chosen - threshold) * zoom) - floor) / (1 - floor)
    line = torch.exp(-(torch.arange(-5, 6, device=image.device) ** 2) / (2 * 7.0**2)).to(image.dtype)
    kernel = (line / line.sum()).view(1, 1, 1, 11).repeat(3, 1, 1, 1)
    small = F.interpolate(image, scale_factor=0.5, mode="bilinear")
    small = F.conv2d(F.pad(small, (5, 5, 5, 5), mode="replicate"), kernel, groups=3)
    small = F.conv2d(small, kernel.transpose(2, 3), groups=3)
    small = (small + 0.05 * torch.randn_like(small)).clamp(0, 1)  # theirs is 0.1 in -1..1
    return image * (1 - where) + F.interpolate(small, image.shape[-2:], mode="bilinear") * where
