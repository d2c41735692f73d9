"""Adversarial training: the detector learns from images that are attacked against it at every step.

Each batch, or a share of it, is replaced by what raises its loss most inside a budget: k steps of PGD (Madry et al.,
ICLR 2018, arXiv 1706.06083), or one large step from a random start, which costs a k-th of it ("fast": Wong, Rice and
Kolter, ICLR 2020, arXiv 2001.03994; their step is 1.25 times the budget). The attack sees the network in evaluation
mode, so that its batch statistics stay those of the images that it learns from.

The fast form can collapse: it then withstands itself and nothing stronger. Measure what was trained with
`unmask attack --with auto_pgd,square`, never with the attack that it learnt against.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unmask.base.attack import project
from unmask.base.detector import Batch, Detector
from unmask.base.method import Method
from unmask.errors import RecipeError
from unmask.nn.ascent import Logits, loss_gradient
from unmask.tasks.settings import Adversarial
from unmask.train.callbacks.callback import Callback, Engine


def attacked(model: Logits, image: Tensor, label: Tensor, how: Adversarial) -> Tensor:
    """(B, 3, H, W) in 0..1, no pixel further than `how.budget` from where it was."""
    delta, size = how.budget * (2 * torch.rand_like(image) - 1), how.budget * how.step_size
    for _ in range(how.steps):
        slope = loss_gradient(model, (image + delta).clamp(0, 1), label)
        delta = project(delta + size * slope.sign(), "linf", how.budget)
    return (image + delta).clamp(0, 1)


class AdversarialTraining(Callback):
    """Replaces a share of each batch. What it draws follows from the random state of the step: it keeps none."""

    name = "adversarial"

    def __init__(self, recipe: Adversarial, detector: Method[Any]) -> None:
        """Raises: UnmaskError for a method that is no detector."""
        if not isinstance(detector, Detector):
            raise RecipeError("adversarial attacks a detector's classes: leave it out of this recipe")
        self.recipe, self.detector = recipe, detector

    def before_step(self, batch: Batch, engine: Engine) -> Batch:
        """The batch with its first images attacked; batches are drawn in random order, so these are any."""
        count = round(self.recipe.share * len(batch.image))
        if not count:
            return batch
        training = self.detector.training
        self.detector.eval()
        try:
            with torch.enable_grad(), engine.autocast():
                moved = attacked(self._logits, batch.image[:count], batch.label[:count], self.recipe)
        finally:
            self.detector.train(training)
        return replace(batch, image=torch.cat([moved.detach(), batch.image[count:]]))

    def _logits(self, image: Tensor) -> Tensor:
        found: Tensor = self.detector(image).logits
        return found
