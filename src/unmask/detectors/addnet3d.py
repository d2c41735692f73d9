"""ADDNet-3D: the masked early maps of each frame, one after the other, go through convolutions over time and space.

The idea in three sentences. A soft mask of the facial organs multiplies each frame and its early maps, as in
ADDNet-2D, with the same weights for all frames. The maps that remain are laid one behind the other, and three
convolutions over time and space with poolings tell real sequences from forged ones. In the paper it does worse than
its counterpart of single frames on WildDeepfake.

Zi et al.: "WildDeepfake: A Challenging Real-World Dataset for Deepfake Detection", ACM MM 2020, arXiv 2101.01456, from
its figures: no code was ever published, and the classifier's layout, the windows' length and the mask's constants are
ours.

Where it differs from the paper. Masks come from five points with a standard face over them. In training those of each
frame are used (`points: true` in the recipe), and they move as its augmentation moves the crop. In use the crops are
aligned, which puts the five points at fixed places: there one mask serves all frames.
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
    "title": "ADDNet-3D (attention masks of facial organs, 3D convolutions)",
    "paper": "Zi et al., ACM MM 2020, arXiv 2101.01456",
    "task": "10 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; the authors published no code or weights",
    "verified": "frames share weights, a frame's mask reaches that frame alone; from figures, no table",
    "small": {"network": "tiny-xception", "size": 32, "frames": 4, "widths": [8, 16]},
}

CUTS = {  # the steps whose maps are multiplied: the stem and the first three blocks
    "xception": ("act2", "block1", "block2", "block3"),
    "small-resnet": ("maxpool", "layer1", "layer2"),
    "tiny-xception": ("stem.1", "blocks.0"),
}


class ADDNet3D(Detector):
    """Masked maps of each frame, 3D convolutions, mean over time and places, linear head, cross-entropy."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 224,
        frames: int = 10,
        widths: tuple[int, ...] = (256, 256, 512),
        mask: Literal["organs", "none"] = "organs",
    ) -> None:
        """
        Args:
            size: side of the crop, pixels; `frames`: of a window, in a row.
            widths: channels after each 3D convolution; all but the first are followed by a pooling over time too.
            mask: "none" is the control, the network without masks.
        """
        super().__init__()
        self.cuts = CUTS[network]
        with torch.device("meta"):
            steps = list(ConvNet(network).steps)
        self.body = ConvNet(network, without=steps[steps.index(self.cuts[-1]) + 1 :])  # nothing behind the ADD block
        self.input = self.body.input(size).model_copy(update={"frames": frames})
        inside, layers = self.body.features, list[nn.Module]()
        for n, width in enumerate(widths):
            pool = nn.MaxPool3d((2 if n else 1, 2, 2), ceil_mode=True)
            layers += [nn.Conv3d(inside, width, 3, padding=1, bias=False), nn.BatchNorm3d(width), nn.ReLU(), pool]
            inside = width
        self.classifier = nn.Sequential(*layers)
        self.head = nn.Linear(inside, len(self.classes))
        self.mask, self.sides = mask, sides(network, size, self.cuts)
        usual = organ_masks(torch.from_numpy(aligned(self.input))[None], size)
        for n, level in enumerate(pyramid(torch.ones_like(usual) if mask == "none" else usual, self.sides)):
            self.register_buffer(f"mask{n}", level, persistent=False)

    def forward(self, image: Tensor) -> Output:
        """Raises: UnmaskError for crops of another size than the mask's."""
        return self.seen(image, [getattr(self, f"mask{n}") for n in range(1 + len(self.sides))])

    def seen(self, image: Tensor, masks: list[Tensor]) -> Output:
        """`masks`: as `unmask.nn.attention_mask.pyramid` gives them, of one image or of each frame, (B T, 1, s, s)."""
        frames = exactly(image.flatten(0, 1), self.input.size)
        maps = masked_maps(self.body, self.cuts, frames, masks).unflatten(0, (-1, self.input.frames))
        features = self.classifier(maps.transpose(1, 2)).mean((2, 3, 4))
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch that does not say where the faces' points lie."""
        if self.mask == "none":
            return super().loss(batch)
        if batch.points is None:
            raise RecipeError("addnet3d draws its masks from each face's points: set points: true in the recipe")
        masks = pyramid(organ_masks(batch.points.flatten(0, 1), self.input.size), self.sides)
        return {"cls": cross_entropy(self.seen(batch.image, masks).logits, batch)}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`; what lies behind the block is left out."""
        self.body.load_pretrained(weights)
