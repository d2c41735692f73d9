"""ResNet on images that training blurs and compresses: "CNN-Aug", the baseline for images of any generator.

The idea in three sentences. Convolutional generators share flaws, so that a classifier trained on the images of one
finds those of others too. What makes it carry over is augmentation: blur and JPEG, each of a random strength, hide what
is particular to one generator. Nothing else is special: an ImageNet network, cross-entropy.

Wang et al.: "CNN-generated images are surprisingly easy to spot... for now", CVPR 2020, arXiv 1912.11035. Theirs is
ResNet-50; DeepfakeBench calls ResNet-34 on faces by the paper's name, and that is the default here.

Where it differs from the paper or from DeepfakeBench. The paper's network is ResNet-50 (`network: resnet-50`);
DeepfakeBench calls ResNet-34 by the paper's name. The augmentation is the recipe's `transforms`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "ResNet-34 (CNN-Aug)",
    "paper": "Wang et al., CVPR 2020, arXiv 1912.11035",
    "task": "one aligned face, or an image -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the network is timm's resnet34, whose ImageNet weights it starts from; no table was reproduced",
    "small": {"network": "tiny-resnet", "size": 32},
}


class ResNet34(Detector):
    """ResNet, mean over places, linear head, cross-entropy; its augmentation is the recipe's `transforms`."""

    def __init__(
        self,
        network: Literal["resnet-34", "resnet-50", "small-resnet", "tiny-resnet"] = "resnet-34",
        size: int = 256,
    ) -> None:
        """`network`: "resnet-50" is the paper's. `size`: side of the crop, pixels; the paper has 224."""
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.head = nn.Linear(self.body.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)
