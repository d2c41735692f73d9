"""What every attack is: a model, images, labels and budgets in; images inside each budget out.

The public call is final. It clips to [0, 1] and to the budget, rounds to 8 bits (towards the original, so that
rounding never leaves the budget), and asks the model itself whether the attack succeeded. So no attack can report a
success that a saved file would not have (as in foolbox, whose split into attacks, criteria and distances this follows).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from unmask.errors import InputError

Norm = Literal["linf", "l2", "l0", "own"]
Logits = Callable[[Tensor], Tensor]  # (B, 3, H, W) in 0..1 -> (B, K)
USUAL: dict[Norm, tuple[float, ...]] = {
    "linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255),
    "l2": (0.5, 1.0, 2.0, 4.0),
    "l0": (0.01, 0.02, 0.05, 0.1),
    "own": (0.1, 0.25, 0.5, 0.75),
}
Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), label (B,) -> (B,) bool: has the attack succeeded?


def misclassified(logits: Tensor, label: Tensor) -> Tensor:
    """(B, K), (B,) -> (B,) bool: the highest logit is another class's. For a forged image: it passes as real."""
    return logits.argmax(1) != label


def margin(logits: Tensor, label: Tensor) -> Tensor:
    """(B, K), (B,) -> (B,): logit of the true class minus the highest other; below 0 the model errs."""
    true = logits.gather(1, label[:, None])[:, 0]
    others = logits.scatter(1, label[:, None], float("-inf"))
    return true - others.amax(1)


def distance(one: Tensor, other: Tensor, norm: Norm) -> Tensor:
    """(B, 3, H, W) twice, in 0..1 -> (B,).

    "linf": the largest absolute difference. "l2": the Euclidean one, and so for "own", whose budget is no distance.
    "l0": the share of places (pixels of any colour) that differ, 0..1.
    """
    gap = one - other
    if norm == "linf":
        return gap.abs().flatten(1).amax(1)
    if norm == "l0":
        return (gap != 0).any(1).float().flatten(1).mean(1)
    return gap.flatten(1).square().sum(1).sqrt()


def project(delta: Tensor, norm: Norm, budget: float) -> Tensor:
    """The nearest (B, ...) inside the budget; of "l0" the places of the largest change stay; "own" is left alone."""
    if norm == "linf":
        return delta.clamp(-budget, budget)
    if norm == "own":
        return delta
    if norm == "l0":
        size = delta.abs().amax(1, keepdim=True)
        flat = size.flatten(1)
        kept = min(int(budget * flat.shape[1] + 1e-6), flat.shape[1])
        chosen = torch.zeros_like(flat).scatter(1, flat.topk(kept, 1).indices, 1.0) if kept else torch.zeros_like(flat)
        return delta * chosen.view_as(size)
    length = delta.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
    scale = (budget / length).clamp(max=1)
    return delta * scale.view(-1, *[1] * (delta.ndim - 1))


def noise_like(delta: Tensor, norm: Norm, seed: int = 0) -> Tensor:
    """Random noise as large as each of B changes (B, 3, H, W), in the norm that their budget is measured in.

    "linf": signs, of the largest change's size. "l0": uniform levels -1..1, at the places that changed. "l2" and "own":
    Gaussian, of the same Euclidean length.
    """
    drawn = torch.randn(delta.shape, generator=torch.Generator().manual_seed(seed)).to(delta)
    if norm == "linf":
        return drawn.sign() * delta.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    if norm == "l0":
        return torch.erf(drawn / 2**0.5) * (delta != 0).any(1, keepdim=True)
    length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    found: Tensor = drawn * length / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return found


@dataclass(frozen=True)
class Attacked:
    """What an attack made of B images at E budgets."""

    image: Tensor  # (E, B, 3, H, W) in 0..1, multiples of 1/255
    success: Tensor  # (E, B) bool, by the criterion on exactly these images
    distance: Tensor  # (E, B) from the original, in the attack's norm
    clean: Tensor  # (B,) bool: the criterion held before any attack
    queries: tuple[float, ...]  # (E,) forward passes that the attack used for one image, on average

    def least(self) -> Tensor:
        """(B,) the smallest distance of a success; 0 where it succeeded before, infinite where it never did."""
        found = torch.where(self.success, self.distance, float("inf")).amin(0)
        return torch.where(self.clean, 0.0, found)


class Counted:
    """A model that counts the images it was asked about."""

    def __init__(self, model: Logits) -> None:
        self.model, self.images = model, 0

    def __call__(self, image: Tensor) -> Tensor:
        self.images += len(image)
        return self.model(image)


class Attack(ABC):
    """Changes images within a budget so that a model errs.

    Attributes:
        norm: in what the budget is measured; "own" is a scale of the attack, 0 = no change, that `unit` names.
        black_box: asks for logits alone, and so works on any bundle.
        decision_only: of these looks at the highest class alone.
        minimal: searches for the nearest success once, which is then cut to each budget (as foolbox does it).
    """

    norm: Norm = "linf"
    black_box: bool = False
    decision_only: bool = False
    minimal: bool = False
    unit: ClassVar[str] = ""

    def usual(self) -> tuple[float, ...]:
        """Budgets for whoever names none."""
        return USUAL[self.norm]

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
        counted = Counted(model)
        made, success, gaps, queries = [], [], [], []
        found: Tensor | None = None
        for budget in map(float, budgets):
            if found is None or not self.minimal:
                before = counted.images
                torch.manual_seed(seed)
                found = self.run(counted, clean.clone(), label, max(budgets) if self.minimal else budget).detach()
                asked = (counted.images - before) / len(image)
            saved = _saved(found, clean, self.norm, budget)
            with torch.no_grad():
                success.append(criterion(model(saved), label))
            made.append(saved)
            gaps.append(distance(saved, clean, self.norm))
            queries.append(asked)
        with torch.no_grad():
            errs = criterion(model(clean), label)
        return Attacked(torch.stack(made), torch.stack(success), torch.stack(gaps), errs, tuple(queries))

    @abstractmethod
    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """The attack itself at one budget, on checked arguments: (B, 3, H, W). A budget of 0 changes nothing."""


def _saved(found: Tensor, clean: Tensor, norm: Norm, budget: float) -> Tensor:
    """Inside the budget and [0, 1], and as an 8-bit file would hold it."""
    if found.shape != clean.shape or not torch.isfinite(found).all():
        raise TypeError(f"an attack must return finite images {tuple(clean.shape)}, not {tuple(found.shape)}")
    if budget == 0:
        return clean
    delta = project(found.clamp(0, 1) - clean, norm, budget)
    if norm in ("own", "l0"):  # no distance that rounding could exceed
        return ((clean + delta).clamp(0, 1) * 255).round() / 255
    return towards(clean, delta)


def towards(clean: Tensor, delta: Tensor) -> Tensor:
    """(B, 3, H, W): 8-bit `clean` plus `delta`, rounded to 8 bits towards `clean`."""
    steps = (delta * 255 + 1e-4 * delta.sign()).trunc()  # 1e-4 of a level for float's own error
    return (clean + steps / 255).clamp(0, 1)
