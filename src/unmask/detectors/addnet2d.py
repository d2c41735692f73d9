"""ADDNet-2D: early maps of the network are multiplied by a soft mask of the face's organs, which are forged most often.

The idea in three sentences. Faces from the wild come before cluttered backgrounds, and a network can learn the clutter.
A mask drawn from landmarks, grey for the face and bright for brows, eyes, nose and mouth, multiplies the image and the
maps of the first blocks, scaled down with them. No loss tells the network where to look: what the mask hides is gone.

Zi et al.: "WildDeepfake: A Challenging Real-World Dataset for Deepfake Detection", ACM MM 2020, arXiv 2101.01456, from
its figures: no code was ever published, and the mask's constants and the head's width are ours.

Where it differs from the paper. Masks come from five points with a standard face over them. In training those of each
crop are used (`points: true` in the recipe), and they move as its augmentation moves the crop. In use a crop is
aligned, which puts the five points at fixed places: there one mask serves all faces. Faces without points see
everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.data.landmarks import aligned
from unmask.errors import RecipeError
from unmask.nn.attention_mask import masked_maps, organ_masks, pyramid, sides
from unmask.nn.convnets import ConvNet
from unmask.nn.fixed import exactly

CARD = {
    "title": "ADDNet-2D (attention masks of facial organs)",
    "paper": "Zi et al., ACM MM 2020, arXiv 2101.01456",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; the authors published no code or weights",
    "verified": "a mask of ones is plain Xception, bitwise; masks move with the crop; from figures, no table",
    "small": {"network": "tiny-xception", "size": 32, "hidden": 16},
}

CUTS = {  # the steps whose maps are multiplied: the stem and the first three blocks
    "xception": ("act2", "block1", "block2", "block3"),
    "small-resnet": ("maxpool", "layer1", "layer2"),
    "tiny-xception": ("stem.1", "blocks.0"),
}


class ADDNet2D(Detector):
    """Xception with masks in it, mean over places, two layers, cross-entropy."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 224,
        hidden: int = 512,
        mask: Literal["organs", "none", "random"] = "organs",
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            hidden: width of the layer before the last one.
            mask: two controls: "none" is the network without masks, "random" has the same mask rolled to a random
                place, in use always to the same one.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.cuts = self.body.input(size), CUTS[network]
        self.head = nn.Sequential(nn.Linear(self.body.features, hidden), nn.Linear(hidden, len(self.classes)))
        self.mask, self.sides = mask, sides(network, size, self.cuts)
        usual = organ_masks(torch.from_numpy(aligned(self.input))[None], size)
        if mask == "none":
            usual = torch.ones_like(usual)
        elif mask == "random":
            usual = usual.roll((size // 2, size // 2), (2, 3))
        for n, level in enumerate(pyramid(usual, self.sides)):
            self.register_buffer(f"mask{n}", level, persistent=False)

    def forward(self, image: Tensor) -> Output:
        """Raises: UnmaskError for crops of another size than the mask's."""
        return self.seen(image, [getattr(self, f"mask{n}") for n in range(1 + len(self.sides))])

    def seen(self, image: Tensor, masks: list[Tensor]) -> Output:
        """`masks`: as `unmask.nn.attention_mask.pyramid` gives them, of one image or of each."""
        maps = masked_maps(self.body, self.cuts, exactly(image, self.input.size), masks)
        features = self.body.run(maps, self.cuts[-1]).mean((2, 3))
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch that does not say where the faces' points lie."""
        if batch.points is None:
            raise RecipeError("addnet2d draws its masks from each face's points: set points: true in the recipe")
        return {"cls": cross_entropy(self.seen(batch.image, self.masks(batch.points)).logits, batch)}

    def masks(self, points: Tensor) -> list[Tensor]:
        """Of each face, from its five points (B, 5, 2)."""
        size = self.input.size
        mask = torch.ones(1, 1, 1, 1, device=points.device).expand(len(points), 1, size, size)
        if self.mask != "none":
            mask = organ_masks(points, size)
        if self.mask == "random":
            shifts = torch.randint(size, (len(points), 2)).tolist()
            mask = torch.stack([m.roll(shift, (1, 2)) for m, shift in zip(mask, shifts, strict=True)])
        return pyramid(mask, self.sides)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)
