"""LRL: what tells a forgery is how its regions relate to each other, in colours and in fine detail together.

The idea in three sentences. A forged region looks like other forged regions and unlike real ones, whatever the method,
so relations carry over where textures do not. Two networks read the image and its high frequencies, and each says where
the other should be listened to. The cosines of each two of 4 x 4 regions must be those that the mask of the forgery
gives, a small decoder draws that mask, and the classifier sits on both networks' last maps.

Chen et al.: "Local Relation Learning for Face Forgery Detection", AAAI 2021, arXiv 2105.02577. From memory and from
DeepfakeBench's notes: attention between the streams in one form of ours, weights 10 and 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn.consistency import consistency
from unmask.nn.convnets import ConvNet
from unmask.nn.fixed import exactly
from unmask.nn.frequency import bands, dct_matrix
from unmask.nn.patches import patches

CARD = {
    "title": "LRL (local relation learning)",
    "paper": "Chen et al., AAAI 2021, arXiv 2105.02577",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "high-pass, cosines of regions and terms by hand; layers from memory, no published weights or tables",
    "small": {"network": "tiny-efficientnet", "size": 64, "grid": 2},
}

CUTS = {  # after which the streams meet; the second gives the regions
    "efficientnet-b4": ("blocks.1", "blocks.4"),
    "small-resnet": ("layer1", "layer3"),
    "tiny-efficientnet": ("blocks.1", "blocks.3"),
}


class LRL(Detector):
    """Two EfficientNets; L = CE + `relation` MSE of regions' cosines + `drawing` BCE of the mask."""

    transform: Tensor
    high: Tensor

    def __init__(
        self,
        network: Literal["efficientnet-b4", "small-resnet", "tiny-efficientnet"] = "efficientnet-b4",
        size: int = 256,
        grid: int = 4,
        relation: float = 10.0,
        drawing: float = 1.0,
        low: float = 1 / 16,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            grid: regions along a side; it divides a sixteenth of the size.
            relation, drawing: weights of the two losses on masks.
            low: share of the size below which frequencies (the sum of both indices) are left out of the second stream.
        """
        super().__init__()
        self.colour, self.detail = ConvNet(network), ConvNet(network)
        self.input, self.cuts = self.colour.input(size), CUTS[network]
        first, second = (self.colour.width(c) for c in self.cuts)
        self.meet = nn.ModuleList(_Meet(width) for width in (first, second))
        self.draw = nn.Sequential(nn.Conv2d(2 * second, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 1))
        self.head = nn.Linear(2 * self.colour.features, len(self.classes))
        self.grid, self.relation, self.drawing = grid, relation, drawing
        self.register_buffer("transform", dct_matrix(size), persistent=False)
        self.register_buffer("high", bands(size, (low * size, 2.0 * size))[0], persistent=False)

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch without masks."""
        if batch.mask is None:
            raise RecipeError("lrl learns from masks: set masks: true in the recipe")
        out, maps = self._seen(batch.image)
        target = consistency(batch.mask, self.grid)
        drawn = F.interpolate(self.draw(maps), batch.mask.shape[-2:], mode="bilinear")[:, 0]
        cross = F.binary_cross_entropy_with_logits(drawn.float(), batch.mask.nan_to_num(), reduction="none")
        return {
            "cls": cross_entropy(out.logits, batch),
            "relation": self.relation * known_mean((relations(maps, self.grid) - target).square()),
            "drawing": self.drawing * known_mean(cross.masked_fill(batch.mask.isnan(), float("nan"))),
        }

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into both networks, in timm's layout, see `unmask.nn.convnets`."""
        self.colour.load_pretrained(weights)
        self.detail.load_pretrained(weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor]:
        """The answer, and both streams' maps after the second meeting, one over the other."""
        x = self.colour.normalised(exactly(image, self.input.size))
        y, before = high_pass(x, self.transform, self.high), None
        for cut, meet in zip(self.cuts, self.meet, strict=True):
            x, y = meet(self.colour.run(x, before, cut), self.detail.run(y, before, cut))
            before = cut
        ends = (self.colour.run(x, before).mean((2, 3)), self.detail.run(y, before).mean((2, 3)))
        features = torch.cat(ends, 1)
        return Output(self.head(features), features), torch.cat([x, y], 1)


class _Meet(nn.Module):
    """x + A y, y + B x: A and B in 0..1, place by place, are read from both (RGB-frequency attention)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(width // 4, 8)
        self.look = nn.Sequential(nn.Conv2d(2 * width, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, 2, 3, padding=1))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.look(torch.cat([x, y], 1)).sigmoid().chunk(2, 1)
        return x + a * y, y + b * x


def high_pass(x: Tensor, transform: Tensor, high: Tensor) -> Tensor:
    """D' (high D x D') D: the image of its high cosine coefficients alone.

    Args:
        x: (B, C, S, S); transform: D of `dct_matrix(S)`; high: (S, S) of 0 and 1.
    """
    return transform.T @ (high * (transform @ x @ transform.T)) @ transform


def relations(maps: Tensor, grid: int) -> Tensor:
    """Cosines of each two of grid^2 regions: (B, C, h, h) -> (B, grid^2, grid^2)."""
    regions = F.normalize(patches(maps, maps.shape[-1] // grid).flatten(2).float(), dim=2)
    return regions @ regions.transpose(1, 2)


def known_mean(each: Tensor) -> Tensor:
    """Mean of what is not NaN; 0 where nothing is."""
    known = ~each.isnan()
    return each.nan_to_num().sum() / torch.clamp(known.sum(), min=1)
