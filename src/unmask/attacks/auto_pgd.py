"""Auto-PGD: PGD that chooses its own step size, and a loss that scaling the logits cannot blunt.

The idea in three sentences. Steps begin as large as the budget and carry momentum. At checkpoints that lie ever closer
together the step is halved, and the search goes back to the best point, where too few steps raised the loss or nothing
new was found. The difference of logits ratio (DLR) divides the margin by a difference of logits, so that a model whose
logits are large cannot hide its gradient.

Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
ICML 2020, arXiv 2003.01690, sections 3 and 4 (algorithm 1). The DLR needs three classes: of two the plain margin is
taken, which no rescaling of the logits changes in sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits, margin, project
from unmask.nn.ascent import steepest

CARD = {
    "title": "Auto-PGD",
    "paper": "Croce and Hein, ICML 2020, arXiv 2003.01690",
    "task": "images and a differentiable model -> images within an L-inf or L2 budget",
    "licence": "Apache-2.0",
    "verified": "checkpoints and DLR by hand; success beside ART's AutoPGD on the same network",
    "small": {"steps": 20},
}
RHO = 0.75  # share of a period's steps that must raise the loss


def checkpoints(steps: int) -> list[int]:
    """Steps after which the step size may be halved: p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06), p_1 = 0.22."""
    share, found = [0.0, 0.22], [0]
    while share[-1] <= 1:
        found.append(math.ceil(round(share[-1] * steps, 6)))  # 0.41 x 100 is 41, not a little more
        share.append(share[-1] + max(share[-1] - share[-2] - 0.03, 0.06))
    return found


def dlr(logits: Tensor, label: Tensor) -> Tensor:
    """(B, K), (B,) -> (B,): -(z_y - max of others) / (z_(1) - z_(3)); higher = closer to an error, above 0 = an error.

    Of two classes only the numerator.
    """
    loss = -margin(logits, label)
    if logits.shape[1] < 3:
        return loss
    top = logits.topk(3, 1).values
    return loss / (top[:, 0] - top[:, 2] + 1e-12)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, reduction="none")


class AutoPGD(Attack):
    """`steps` steps with momentum 0.25 and step sizes of its own, from `restarts` random starts."""

    def __init__(
        self,
        *,
        norm: Literal["linf", "l2"] = "linf",
        loss: Literal["dlr", "cross_entropy"] = "dlr",
        steps: int = 100,
        restarts: int = 1,
    ) -> None:
        self.norm, self.steps, self.restarts = norm, steps, restarts
        self.loss: Callable[[Tensor, Tensor], Tensor] = dlr if loss == "dlr" else cross_entropy

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        best, highest = image, torch.full((len(image),), float("-inf"), device=image.device)
        for _ in range(self.restarts):
            found, value = self._once(model, image, label, budget)
            better = value > highest
            best = torch.where(better.view(-1, 1, 1, 1), found, best)
            highest = torch.maximum(value, highest)
        return best

    def _once(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> tuple[Tensor, Tensor]:
        """One start: the images of the highest loss, and that loss (B,)."""

        def inside(x: Tensor) -> Tensor:
            return (image + project(x - image, self.norm, budget)).clamp(0, 1)

        noise = 2 * torch.rand_like(image) - 1
        x = inside(image + budget * (noise if self.norm == "linf" else steepest(noise, "l2")))
        value, gradient = self._gradient(model, x, label)
        best, best_value, best_gradient = x, value, gradient
        step = torch.full((len(x), 1, 1, 1), 2 * budget, device=x.device)
        before, checks = x, checkpoints(self.steps)
        raised = torch.zeros_like(value)
        last_best, halved, since = value, torch.zeros_like(value, dtype=torch.bool), 0
        for k in range(1, self.steps + 1):
            z = inside(x + step * steepest(gradient, self.norm))
            alpha = 1.0 if k == 1 else 0.75
            x, before = inside(x + alpha * (z - x) + (1 - alpha) * (x - before)), x
            previous, (value, gradient) = value, self._gradient(model, x, label)
            raised += value > previous
            better = value > best_value
            wide = better.view(-1, 1, 1, 1)
            best, best_gradient = torch.where(wide, x, best), torch.where(wide, gradient, best_gradient)
            best_value = torch.maximum(value, best_value)
            if k in checks:
                few = raised < RHO * (k - since)
                stuck = ~halved & (best_value <= last_best)
                halved, last_best, since = few | stuck, best_value, k
                wide = halved.view(-1, 1, 1, 1)
                step = torch.where(wide, step / 2, step)
                x, gradient = torch.where(wide, best, x), torch.where(wide, best_gradient, gradient)
                value = torch.where(halved, best_value, value)
                raised = torch.zeros_like(raised)
        return best, best_value

    def _gradient(self, model: Logits, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        moving = x.detach().requires_grad_()
        value = self.loss(model(moving), label)
        (gradient,) = torch.autograd.grad(value.sum(), moving)
        return value.detach(), gradient
