"""What every attack is: a model, images, labels and budgets in; images inside each budget out.

The public call is final. It videos to [0, 1] and to the budget, rounds to 8 bits (towards the original, so that
rounding never leaves the budget), and asks the model itself whether the attack succeeded. So no attack can report a
success that a saved file would not have (as in foolbox, whose split into attacks, criteria and distances this follows).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from unmask.errors import InputError

Norm = Literal["linf", "l2"]
Logits = Callable[[Tensor], Tensor]  # (B, 3, H, W) in 0..1 -> (B, K)
Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), label (B,) -> (B,) bool: has the attack succeeded?


def misclassified(logits: Tensor, label: Tensor) -> Tensor:
    """(B, K), (B,) -> (B,) bool: the highest logit is another class's. For a forged image: it passes as real."""
    return logits.argmax(1) != label


def distance(one: Tensor, other: Tensor, norm: Norm) -> Tensor:
    """(B, 3, H, W) twice -> (B,), the largest absolute difference ("linf") or the Euclidean one ("l2"), of 0..1."""
    gap = (one - other).flatten(1)
    return gap.abs().amax(1) if norm == "linf" else gap.square().sum(1).sqrt()


def project(delta: Tensor, norm: Norm, budget: float) -> Tensor:
    """The nearest (B, ...) inside the budget."""
    if norm == "linf":
        return delta.clamp(-budget, budget)
    length = delta.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
    scale = (budget / length).clamp(max=1)
    return delta * scale.view(-1, *[1] * (delta.ndim - 1))


@dataclass(frozen=True)
class Attacked:
    """What an attack made of B images at E budgets."""

    image: Tensor  # (E, B, 3, H, W) in 0..1, multiples of 1/255
    success: Tensor  # (E, B) bool, by the criterion on exactly these images
    distance: Tensor  # (E, B) from the original, in the attack's norm
    clean: Tensor  # (B,) bool: the criterion held before any attack


class Attack(ABC):
    """Changes images within a budget so that a model errs. `norm`: in what the budget is measured."""

    norm: Norm = "linf"
    black_box: bool = False  # asks for logits alone, and so works on any bundle

    @final
    def __call__(
        self,
        model: Logits,
        image: Tensor,
        label: Tensor,
        budgets: Sequence[float],
        *,
        criterion: Criterion = misclassified,
        seed: int = 0,
    ) -> Attacked:
        """Attack every image at every budget.

        Args:
            model: (B, 3, H, W) in 0..1 -> logits (B, K); differentiable unless the attack is a black box.
            image: (B, 3, H, W) in 0..1; it is not changed.
            label: (B,) true classes; 1 = fake.
            budgets: largest distances, in the attack's norm, of images in 0..1 (8/255 = 0.0314 for "linf").
            criterion: what counts as success.
            seed: of what the attack draws.
        Raises: UnmaskError for images outside 0..1, of another shape, or a negative budget.
        """
        if image.ndim != 4 or image.shape[1] != 3 or len(image) != len(label):
            raise InputError(
                f"an attack takes images (B, 3, H, W) and B labels, not {tuple(image.shape)}, {len(label)}"
            )
        if not image.is_floating_point() or image.min() < 0 or image.max() > 1:
            raise InputError("an attack takes floating-point images in 0..1")
        if not budgets or min(budgets) < 0:
            raise InputError(f"budgets are 0 or more, at least one of them, not {list(budgets)}")
        clean = (image.detach() * 255).round() / 255
        made, success, gaps = [], [], []
        for budget in budgets:
            torch.manual_seed(seed)
            found = self.run(model, clean.clone(), label, float(budget)).detach()
            saved = _saved(found, clean, self.norm, float(budget))
            with torch.no_grad():
                success.append(criterion(model(saved), label))
            made.append(saved)
            gaps.append(distance(saved, clean, self.norm))
        with torch.no_grad():
            before = criterion(model(clean), label)
        return Attacked(torch.stack(made), torch.stack(success), torch.stack(gaps), before)

    @abstractmethod
    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """The attack itself at one budget, on checked arguments: (B, 3, H, W)."""


def _saved(found: Tensor, clean: Tensor, norm: Norm, budget: float) -> Tensor:
    """Inside the budget and [0, 1], and as an 8-bit file would hold it."""
    if found.shape != clean.shape or not torch.isfinite(found).all():
        raise TypeError(f"an attack must return finite images {tuple(clean.shape)}, not {tuple(found.shape)}")
    delta = project(found.clamp(0, 1) - clean, norm, budget)
    steps = (delta * 255 + 1e-4 * delta.sign()).trunc()  # towards the original; 1e-4 of a level for float's own error
    return (clean + steps / 255).clamp(0, 1)
