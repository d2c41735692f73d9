"""SBI: a plain EfficientNet that never saw a forgery, only real faces and their blends with themselves.

The idea in three sentences. A real face is blended with a changed copy of itself (the generator `sbi`), so that nothing
but the blend tells the two of a pair apart. The hardest and most general forgery is thus one that no method made, and
the network cannot learn any method's habits. Sharpness-aware minimisation keeps the weights where a small change of
them costs little.

Shiohara and Yamasaki: "Detecting Deepfakes with Self-Blended Images", CVPR 2022, arXiv 2204.08376. SAM: Foret et al.,
ICLR 2021. DeepfakeBench trains it by Adam instead.

The authors' weights read pixels in 0..1 without normalisation and pad as efficientnet_pytorch does for 380 pixels: a
bundle of `unmask import detector sbi` is built so (`network: efficientnet-b4-sbi`). Both facts are from memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "SBI (self-blended images)",
    "paper": "Shiohara and Yamasaki, CVPR 2022, arXiv 2204.08376",
    "task": "one aligned face -> real or fake",
    "evidence": "blending",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; the authors' weights are for research",
    "verified": "pads and the published layout on random weights; no published weights or tables",
    "small": {"network": "tiny-efficientnet", "size": 32},
}


class SBI(Detector):
    """EfficientNet-B4, mean over places, dropout, linear head, cross-entropy."""

    def __init__(
        self,
        network: Literal["efficientnet-b4", "efficientnet-b4-sbi", "small-resnet", "tiny-efficientnet"] = (
            "efficientnet-b4"
        ),
        size: int = 380,
        dropout: float = 0.4,
    ) -> None:
        """
        Args:
            network: "efficientnet-b4-sbi" pads and normalises as the authors' weights want it.
            size: side of the crop, pixels.
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
