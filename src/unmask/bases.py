"""One small base class per kind of method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nouns import InputSpec


@dataclass
class Batch:
    image: Tensor  # (B, 3, H, W) RGB in 0..1
    label: Tensor  # (B,) index into Detector.classes; 1 = fake


@dataclass
class Output:
    logits: Tensor  # (B, K)
    features: Tensor  # (B, D)


class Detector(nn.Module, ABC):
    """Tells real from fake. It takes RGB in 0..1 and owns its normalisation."""

    input: InputSpec = InputSpec()
    classes: tuple[str, ...] = ("real", "fake")

    @abstractmethod
    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) in 0..1 -> logits (B, K), features (B, D)."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named, already weighted terms; their sum is minimised."""
        return {"cls": F.cross_entropy(self(batch.image).logits, batch.label)}
