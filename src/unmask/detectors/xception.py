"""Xception on aligned faces: the baseline of FaceForensics++, and of most tables since.

The idea in three sentences. A network of depthwise separable convolutions that knows ImageNet is fine-tuned to tell
real faces from forged ones, with cross-entropy and nothing else. The face is cut out with a margin of 1.3 first, which
helped more than the choice of the network. Within the forgeries it was trained on it is near perfect; on others it
falls far.

Rössler et al.: "FaceForensics++: Learning to Detect Manipulated Facial Images", ICCV 2019, arXiv 1901.08971.
Network: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "Xception",
    "paper": "Rössler et al., FaceForensics++, ICCV 2019, arXiv 1901.08971; network: Chollet, CVPR 2017",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the network is timm's legacy_xception, whose ImageNet weights it starts from; no table was reproduced",
    "small": {"network": "tiny-xception", "size": 32},
}


class Xception(Detector):
    """Xception, mean over places, linear head, cross-entropy."""

    def __init__(
        self, network: Literal["xception", "tiny-xception"] = "xception", size: int = 256, dropout: float = 0.0
    ) -> None:
        """`size`: side of the crop, pixels; the paper has 299, DeepfakeBench 256."""
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(self.dropout(features)), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)
