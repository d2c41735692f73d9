"""PGD: many small gradient steps, each brought back into the budget.

The idea in three sentences. Within the budget, the loss is raised by steepest ascent from a random start. After each
step the change is projected onto the ball of the budget and the image onto [0, 1]. It is the standard first-order
attack: what holds against it holds against most that use gradients.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, arXiv 1706.06083, section 2.1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmask.base.attack import Attack, Logits, project
from unmask.nn.ascent import loss_gradient, steepest

CARD = {
    "title": "PGD (projected gradient descent)",
    "paper": "Madry et al., ICLR 2018, arXiv 1706.06083",
    "task": "images and a differentiable model -> images within an L-inf or L2 budget",
    "licence": "Apache-2.0",
    "verified": "each step on a linear model by hand; foolbox's PGD in both norms to 1e-6; 8-bit budget",
}


class PGD(Attack):
    """`steps` steps of `step_size` times the budget, from a random start inside it."""

    def __init__(
        self,
        *,
        norm: Literal["linf", "l2"] = "linf",
        steps: int = 40,
        step_size: float = 0.0333,
        random_start: bool = True,
    ) -> None:
        """
        Args:
            step_size: as a share of the budget.
            random_start: uniform in the L-inf ball; for L2 a random direction of random length.
        """
        self.norm, self.steps, self.step_size, self.random_start = norm, steps, step_size, random_start

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        delta = torch.zeros_like(image)
        if self.random_start:
            delta = (2 * torch.rand_like(image) - 1) * budget
            if self.norm == "l2":
                delta = steepest(delta, "l2") * budget * torch.rand(len(image), 1, 1, 1, device=image.device)
        for _ in range(self.steps):
            gradient = loss_gradient(model, (image + delta).clamp(0, 1), label)
            delta = project(delta + self.step_size * budget * steepest(gradient, self.norm), self.norm, budget)
            delta = (image + delta).clamp(0, 1) - image
        return image + delta
