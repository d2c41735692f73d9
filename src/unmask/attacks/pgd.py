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
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits, Norm, project

CARD = {
    "title": "PGD (projected gradient descent)",
    "paper": "Madry et al., ICLR 2018, arXiv 1706.06083",
    "task": "images and a differentiable model -> images within an L-inf or L2 budget",
    "licence": "Apache-2.0",
    "verified": "each step on a linear model by hand; stays in its budget after saving to 8 bits",
}


def ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of steepest ascent of length 1 in `norm`: (B, ...) -> (B, ...)."""
    if norm == "linf":
        return gradient.sign()
    length = gradient.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
    return gradient / length.view(-1, *[1] * (gradient.ndim - 1))


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
                delta = ascent(delta, "l2") * budget * torch.rand(len(image), 1, 1, 1, device=image.device)
        for _ in range(self.steps):
            moving = (image + delta).clamp(0, 1).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(moving), label, reduction="sum"), moving)
            delta = project(delta + self.step_size * budget * ascent(gradient, self.norm), self.norm, budget)
            delta = (image + delta).clamp(0, 1) - image
        return image + delta
