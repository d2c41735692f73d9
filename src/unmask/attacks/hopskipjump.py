"""HopSkipJump: walks along the boundary of a decision towards the original, seeing nothing but the decision.

The idea in three sentences. It starts at an image that the model takes for another class, and searches the line to the
original for the boundary. There it asks about many small random changes: the mean of those that stay on the other side
points away from the boundary, as a gradient would. A step along it, again a search of the line, and the image comes
ever closer to the original.

Chen, Jordan and Wainwright, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack", IEEE S&P 2020,
arXiv 1904.02144, algorithm 2, with its theta, its number of changes (100 sqrt(t)) and its geometric step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from unmask.base.attack import Attack, Logits, distance, misclassified, towards

CARD = {
    "title": "HopSkipJump",
    "paper": "Chen, Jordan and Wainwright, IEEE S&P 2020, arXiv 1904.02144",
    "task": "images and decisions of a model -> the nearest images that it errs on",
    "licence": "Apache-2.0",
    "verified": "the distance to a plane by hand; distance beside foolbox's HopSkipJump on the same network",
    "small": {"steps": 2, "first": 10, "most": 20},
}
Errs = Callable[[Tensor], Tensor]  # (N, 3, H, W) -> (N,) bool: is it on the other side?
ASKED = 64  # images of one forward pass


class HopSkipJump(Attack):
    """`steps` rounds; round t asks about min(first sqrt(t), most) changes of each image."""

    black_box = True
    decision_only = True
    minimal = True

    def __init__(
        self, *, norm: Literal["linf", "l2"] = "l2", steps: int = 10, first: int = 100, most: int = 1000
    ) -> None:
        self.norm, self.steps, self.first, self.most = norm, steps, first, most
        self.starts: Tensor | None = None  # (N, 3, H, W), images to begin from, such as real photographs

    @torch.no_grad()
    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """An image for which no start is found comes back as it was."""
        others = image if self.starts is None else torch.cat([self.starts.to(image), image])

        def errs_on(n: int) -> Errs:
            def errs(some: Tensor) -> Tensor:
                parts = [misclassified(model(p), label[n].expand(len(p))) for p in some.clamp(0, 1).split(ASKED)]
                return torch.cat(parts)

            return errs

        return torch.stack([self._walk(errs_on(n), image[n], others) for n in range(len(image))])

    def _walk(self, errs: Errs, image: Tensor, others: Tensor) -> Tensor:
        if errs(image[None])[0]:
            return image
        start = _start(errs, image, others)
        if start is None:
            return image
        theta = image.numel() ** (-1.5 if self.norm == "l2" else -2.0)
        width = image.numel() ** 0.5 if self.norm == "l2" else float(image.numel())
        there = self._to_boundary(errs, image, start, theta)
        best, nearest = there, self._far(there, image)
        for t in range(1, self.steps + 1):
            reach = 0.1 if t == 1 else width * theta * self._far(there, image)
            uphill = self._uphill(errs, there, reach, int(min(self.first * t**0.5, self.most)))
            step, moved = self._far(there, image) / t**0.5, there
            for _ in range(25):
                moved = (there + step * uphill).clamp(0, 1)
                if errs(moved[None])[0]:
                    break
                step /= 2
            else:
                moved = there
            there = self._to_boundary(errs, image, moved, theta)
            if self._far(there, image) < nearest:
                best, nearest = there, self._far(there, image)
        return _lasting(errs, image, best)

    def _far(self, one: Tensor, other: Tensor) -> float:
        return float(distance(one[None], other[None], self.norm)[0])

    def _to_boundary(self, errs: Errs, image: Tensor, start: Tensor, theta: float) -> Tensor:
        """The point on the way from `start` to `image` next to the boundary, on the side of `start`."""

        def at(share: float) -> Tensor:
            if self.norm == "l2":
                return image + share * (start - image)
            return image + (start - image).clamp(-share, share)

        low, high = 0.0, 1.0 if self.norm == "l2" else self._far(start, image)
        limit = theta if self.norm == "l2" else min(high * theta, theta)
        while high - low > max(limit, 1e-6):  # float32 knows no finer line
            middle = (low + high) / 2
            low, high = (low, middle) if errs(at(middle)[None])[0] else (middle, high)
        return at(high)

    def _uphill(self, errs: Errs, there: Tensor, reach: float, asked: int) -> Tensor:
        """The estimated direction into the other side, of length 1 in the norm."""
        drawn = torch.randn(asked, *there.shape, device=there.device)
        if self.norm == "linf":
            drawn = torch.rand_like(drawn) * 2 - 1
        drawn = drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved = (there + reach * drawn).clamp(0, 1)
        drawn = (moved - there) / reach
        said = errs(moved).to(there.dtype) * 2 - 1
        if said.min() != said.max():
            said = said - said.mean()
        estimate: Tensor = (said.view(-1, 1, 1, 1) * drawn).mean(0)
        return estimate.sign() if self.norm == "linf" else estimate / estimate.norm().clamp_min(1e-12)


def _start(errs: Errs, image: Tensor, others: Tensor) -> Tensor | None:
    """The nearest of other images, flat grey levels and noise that is on the other side; None where none is."""
    levels = torch.linspace(0, 1, 9, device=image.device).view(-1, 1, 1, 1).expand(-1, *image.shape)
    tried = torch.cat([others, levels, torch.rand(16, *image.shape, device=image.device)])
    tried = tried[errs(tried)]
    if not len(tried):
        return None
    return tried[distance(tried, image.expand_as(tried), "l2").argmin()]


def _lasting(errs: Errs, image: Tensor, found: Tensor) -> Tensor:
    """Beyond the boundary by as little as saving to 8 bits asks for: rounding would lead back across it."""
    for stretch in (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0):
        saved = towards(image, (image + stretch * (found - image)).clamp(0, 1) - image)
        if errs(saved[None])[0]:
            return saved
    return found
