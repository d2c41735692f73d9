"""CORE: two differently augmented views of one face must lie in the same direction of feature space.

The idea in three sentences. Augmentation makes a detector see other faces, but does not tell it that two views of one
face mean the same. So each training face comes in two views, both are classified, and the cosine between their features
is pulled to 1. What only one augmentation leaves intact can then no longer be relied on.

Ni et al.: "CORE: Consistent Representation Learning for Face Forgery Detection", CVPRW 2022, arXiv 2206.02749.

Where it differs from the paper or from DeepfakeBench. The paper draws the two views by its whole augmentation. Here
the loader draws it once for both; a flip and a rectangle of noise come on top, for each view.
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
    "title": "CORE (consistent representations)",
    "paper": "Ni et al., CVPRW 2022, arXiv 2206.02749",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the consistency by hand; not the tables; its views are a flip and a rectangle, not the paper's",
    "small": {"network": "tiny-xception", "size": 32},
}


class CORE(Detector):
    """Xception, mean over places, linear head; L = CE over both views + `weight` mean (1 - cos)^2."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        weight: float = 1.0,
        erased: float = 0.2,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            weight: of the consistency; 0 leaves it out.
            erased: without `views` in the recipe, the two views differ by a flip and by a rectangle of noise of up to
                this share of the side. With two views there, each drawn by a whole augmentation as in the paper, those
                are compared.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.weight, self.erased = weight, erased

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if batch.views is not None and batch.views.shape[1] == 2:
            out = self(torch.cat(list(batch.views.unbind(1))))
        else:
            out = self(torch.cat([_view(batch.image, self.erased), _view(batch.image, self.erased)]))
        terms = {"cls": cross_entropy(out.logits, batch)}
        if self.weight:
            terms["consistency"] = self.weight * consistency(*out.features.chunk(2))
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


def consistency(one: Tensor, other: Tensor) -> Tensor:
    """Mean of (1 - cos)^2 between the two views' features: the paper's cosine loss.

    Args:
        one, other: (N, D); row i of both is of one face.
    """
    return (1 - F.cosine_similarity(one.float(), other.float(), dim=1)).square().mean()


def _view(image: Tensor, share: float) -> Tensor:
    """Each image flipped or not, and a rectangle of it filled with noise."""
    n, _, height, width = image.shape
    rows, columns = (torch.arange(s, device=image.device)[None] / s for s in (height, width))
    draw = torch.rand(n, 5, 1, device=image.device)
    image = torch.where(draw[:, 4, :, None, None] < 0.5, image.flip(3), image)
    tall, wide = share * draw[:, 0], share * draw[:, 1]
    top, left = (1 - tall) * draw[:, 2], (1 - wide) * draw[:, 3]
    down, along = (rows >= top) & (rows < top + tall), (columns >= left) & (columns < left + wide)
    return torch.where((down[:, :, None] & along[:, None])[:, None], torch.rand_like(image), image)
