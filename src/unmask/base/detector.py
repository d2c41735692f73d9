"""One small base class per kind of method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.types import InputSpec


@dataclass
class Batch:
    image: Tensor  # (B, 3, H, W) RGB in 0..1
    label: Tensor  # (B,) index into Detector.classes; 1 = fake
    group: Tensor | None = None  # (B,) leakage group
    pair: Tensor | None = None  # (B,) equal for a real image and the forgeries made from it; -1 = of no pair
    method: Tensor | None = None  # (B,) what made it
    index: Tensor | None = None  # (B,) row of the data set
    views: Tensor | None = None  # (B, V, 3, H, W) each image once more in V ways, as the recipe's `views` say
    weigh: Callable[[Tensor], Tensor] | None = None  # logits (k B, K) -> how much each image counts, (B,), mean 1


@dataclass
class Output:
    logits: Tensor  # (B, K)
    features: Tensor  # (B, D)


class Engine(Protocol):
    """What the training loop lends to `Detector.step`: precision, processes and accumulation are its trade."""

    def autocast(self) -> AbstractContextManager[None]:
        """Forward passes in here run in the recipe's precision."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a scalar, its share of the batches that are accumulated."""

    def update(self) -> None:
        """One step of the optimiser, on the mean over processes; nothing while batches are still accumulated."""


class Detector(nn.Module, ABC):
    """Tells real from fake. It takes RGB in 0..1 and owns its normalisation."""

    input: InputSpec = InputSpec()
    classes: tuple[str, ...] = ("real", "fake")

    @abstractmethod
    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) in 0..1 -> logits (B, K), features (B, D)."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named, already weighted terms; their sum is minimised."""
        return {"cls": cross_entropy(self(batch.image).logits, batch)}

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """Learn from one batch; a method with a rule of its own writes this instead of `loss`.

        Returns: the terms, for the log.
        """
        with engine.autocast():
            terms = self.loss(batch)
        engine.backward(torch.stack(list(terms.values())).sum())
        engine.update()
        return terms


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Mean over images of w_i CE_i, with the weights that the batch asks for (`Batch.weigh`), or none.

    Args:
        logits: (k B, K): k views of the batch one after the other; an image counts the same in each.
    """
    label = batch.label.repeat(len(logits) // len(batch.label))
    if batch.weigh is None:
        return F.cross_entropy(logits, label)
    each = F.cross_entropy(logits, label, reduction="none")
    return (batch.weigh(logits).repeat(len(each) // len(batch.label)) * each).mean()
