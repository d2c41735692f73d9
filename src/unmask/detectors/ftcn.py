"""FTCN: a network that cannot see space at all, and a transformer that compares its frames.

The idea in three sentences. A 3D network tells most forgeries by what a single frame shows, and that does not carry
over to other forgeries; flicker does. So every kernel over space is cut down to 1 x 1 while kernels over time stay, and
strides become poolings: the network can only learn how each place changes. A transformer of one layer then looks at
the pooled features of all frames for incoherence over longer times.

Zheng, Bao, Chen, Zeng, Wen: "Exploring Temporal Coherence for More General Video Face Forgery Detection", ICCV 2021,
arXiv 2108.06693.

Where it differs from the paper. Two logits and cross-entropy instead of one and a sigmoid; the network's sizes and the
stage at which it stops are those of the authors' code as DeepfakeBench keeps it (I3D R50, three stages, 16 frames).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.backbones import HALF
from unmask.nn.i3d import InflatedResNet
from unmask.types import InputSpec

CARD = {
    "title": "FTCN (fully temporal convolutions, temporal transformer)",
    "paper": "Zheng et al., ICCV 2021, arXiv 2108.06693",
    "task": "16 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; the transformer's block is timm's, Apache-2.0",
    "verified": "no place sees another one; names and shapes of DeepfakeBench's layout; no published weights or table",
    "small": {"network": "tiny-i3d", "size": 32, "frames": 4, "heads": 2, "hidden": 32},
}
STAGES = 3


class FTCN(Detector):
    """Temporal I3D, mean over places, a class token before the frames, one transformer block, norm, linear head."""

    def __init__(
        self,
        network: Literal["i3d-r50", "small-i3d", "tiny-i3d"] = "i3d-r50",
        size: int = 224,
        frames: int = 16,
        heads: int = 16,
        hidden: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        """`heads` and `hidden`: of the transformer's attention and its MLP."""
        super().__init__()
        from timm.models.vision_transformer import Block

        self.input = InputSpec(size=size, frames=frames, mean=HALF[0], std=HALF[1])
        self.body = InflatedResNet(network, temporal=True, stages=STAGES)
        width = self.body.features
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, frames + 1, width))
        self.dropout = nn.Dropout(dropout)
        self.block = Block(width, heads, hidden / width, qkv_bias=False, proj_drop=dropout, norm_layer=nn.LayerNorm)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        frames = self.body(image).mean((3, 4)).transpose(1, 2)
        tokens = torch.cat([self.token.expand(frames.shape[0], -1, -1), frames], 1) + self.place
        features = self.norm(self.block(self.dropout(tokens))[:, 0])
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load Kinetics weights under PySlowFast's names; of a kernel over space its sum is kept."""
        self.body.load_pretrained(weights)
