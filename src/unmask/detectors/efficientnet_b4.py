"""EfficientNet-B4 on aligned faces: a smaller sister of the network that won the DFDC (B7), as a plain baseline.

The idea in three sentences. Depth, width and resolution of a network are scaled together by one factor, found on
ImageNet; B4 is the fourth step. Fine-tuned with cross-entropy it reaches Xception's accuracy on FaceForensics++ with
fewer operations. Self-blended images build on it.

Network: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv 1905.11946. As a forgery detector: Bonettini et al., "Video Face Manipulation Detection Through Ensemble of CNNs",
ICPR 2020, arXiv 2004.07676.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "EfficientNet-B4",
    "paper": "Bonettini et al., ICPR 2020, arXiv 2004.07676; network: Tan and Le, ICML 2019, arXiv 1905.11946",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the network is timm's efficientnet_b4, whose ImageNet weights it starts from; no table was reproduced",
    "small": {"network": "tiny-efficientnet", "size": 32},
}


class EfficientNetB4(Detector):
    """EfficientNet-B4, mean over places, dropout, linear head, cross-entropy."""

    def __init__(
        self,
        network: Literal["efficientnet-b4", "efficientnet-b4-static", "tiny-efficientnet"] = "efficientnet-b4",
        size: int = 256,
        dropout: float = 0.4,
    ) -> None:
        """
        Args:
            network: "efficientnet-b4-static" pads as DeepfakeBench's checkpoints want it; a bundle of one has it.
            size: side of the crop, pixels; DeepfakeBench has 256.
            dropout: B4's own is 0.4.
        """
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
