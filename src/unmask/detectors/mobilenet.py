"""MobileNetV2 as a face-forgery detector: a small ImageNet network, global pooling and a linear head.

No method is published under this name; it is the plain baseline that every paper of the field begins with, at a size
that a laptop runs in a few milliseconds. What makes it useful is what it is trained on (see `training.embedded`):
pairs of a real face and its forgery, self-blended faces (arXiv 2204.08376), and the same degradations for both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.mobilenet import FEATURES, MobileNetV2
from unmask.types import InputSpec

CARD = {
    "title": "MobileNetV2 baseline",
    "paper": "network: Sandler et al., MobileNetV2, CVPR 2018; no paper proposes it as a forgery detector",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the embedded weights were trained on research data, see unmask info",
    "verified": "against its own embedded weights; there is no published table to reproduce",
}


class MobileNet(Detector):
    """The stem stays as ImageNet left it: edges are edges, and its gradient costs a quarter of a step."""

    input = InputSpec(size=160, margin=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def __init__(self, dropout: float = 0.2, size: int = 160) -> None:
        """`size`: side of the crop, pixels."""
        super().__init__()
        self.input = self.input.model_copy(update={"size": size})
        self.body = MobileNetV2().to(memory_format=torch.channels_last)  # two thirds of the time of a step on a CPU
        self.body.layers[0].requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, len(self.classes))
        self.register_buffer("mean", torch.tensor(self.input.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(self.input.std).view(1, 3, 1, 1))

    def normalise(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 -> what ImageNet training showed the body."""
        return (image - self.mean) / self.std  # type: ignore[operator]

    def forward(self, image: Tensor) -> Output:
        features = self.body(self.normalise(image)).mean((2, 3))
        return Output(self.head(self.dropout(features)), features)

    def train(self, mode: bool = True) -> MobileNet:
        super().train(mode)
        self.body.layers[0].eval()
        return self
