"""I3D: a network of images inflated to three dimensions looks at frames in a row.

The idea in three sentences. Each filter of a good image network is repeated over time, so that the network begins with
what it knows of images. Trained on videos of actions, it learns filters that see motion. Face forgeries made frame by
frame flicker, and DeepfakeBench takes the network as the plainest detector of videos.

Carreira and Zisserman: "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017, arXiv
1705.07750. Network: "I3D 8x8 R50" of PySlowFast, 16 frames, as in DeepfakeBench.

Where it differs from DeepfakeBench. Two logits and cross-entropy instead of one and a sigmoid. Its 16 frames are frames
in a row; DeepfakeBench takes neighbours of 32 frames that are spread over the video.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.backbones import HALF
from unmask.nn.i3d import InflatedResNet
from unmask.types import InputSpec

CARD = {
    "title": "I3D (3D ResNet-50)",
    "paper": "Carreira and Zisserman, CVPR 2017, arXiv 1705.07750; as a detector: DeepfakeBench, arXiv 2307.01426",
    "task": "16 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; Kinetics weights of PySlowFast have terms of their own",
    "verified": "shapes and names of PySlowFast's layout, and a forward pass by hand; no published weights or table",
    "small": {"network": "tiny-i3d", "size": 32, "frames": 4},
}


class I3D(Detector):
    """3D network, mean over time and places, dropout, linear head, cross-entropy."""

    def __init__(
        self,
        network: Literal["i3d-r50", "small-i3d", "tiny-i3d"] = "i3d-r50",
        size: int = 224,
        frames: int = 16,
        dropout: float = 0.5,
    ) -> None:
        """`size`: side of the crop, pixels; `frames`: of a window, in a row."""
        super().__init__()
        self.input = InputSpec(size=size, frames=frames, mean=HALF[0], std=HALF[1])
        self.body = InflatedResNet(network)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        features = self.body(image).mean((2, 3, 4))
        return Output(self.head(self.dropout(features)), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load Kinetics weights under PySlowFast's names, see `unmask.nn.i3d`."""
        self.body.load_pretrained(weights)
