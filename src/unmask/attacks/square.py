"""Square: random squares of the largest change, kept where they bring the model closer to an error.

The idea in three sentences. An image's change starts as vertical stripes of plus or minus eps, to which convolutions
are sensitive. Then squares at random places are set to a random corner of the budget, large ones first and ever smaller
ones, and each is kept if the margin of the true class falls. It needs the scores alone and no gradient, so a detector
that merely hides its gradient gains nothing.

Andriushchenko, Croce, Flammarion and Hein, "Square Attack: a Query-Efficient Black-box Adversarial Attack via Random
Search", ECCV 2020, arXiv 1912.00049, algorithms 1 and 2. Here an image is left alone once the model errs on it, and
given back untouched where no change was found that brings the model closer to an error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.base.attack import Attack, Logits, margin

CARD = {
    "title": "Square Attack",
    "paper": "Andriushchenko et al., ECCV 2020, arXiv 1912.00049",
    "task": "images and scores of a model -> images within an L-inf budget",
    "licence": "Apache-2.0",
    "verified": "the schedule by hand; success beside ART's SquareAttack on the same network; L-inf alone, not L2",
    "small": {"steps": 100},
}
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries: each halves the share of pixels


def share(step: int, steps: int, first: float) -> float:
    """Of the image that a square covers at `step` of `steps`: p is halved at fixed places of the schedule.

    At 10, 50, 200 ... 8,000 of 10,000; other lengths are stretched.
    """
    place = int(step / steps * 10_000)
    halvings = sum(place > limit for limit in HALVED)
    return first / float(2**halvings)


class Square(Attack):
    """At most `steps` queries an image; `first`: the share of the image that the first squares cover."""

    norm = "linf"
    black_box = True

    def __init__(self, *, steps: int = 1000, first: float = 0.8) -> None:
        self.steps, self.first = steps, first

    @torch.no_grad()
    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        size, (height, width) = len(image), image.shape[2:]
        untouched = margin(model(image), label)
        stripes = torch.randint(0, 2, (size, 3, 1, width), device=image.device) * 2 - 1
        best = (image + budget * stripes).clamp(0, 1)
        value = torch.where(untouched < 0, untouched, margin(model(best), label))
        for step in range(2, self.steps):
            left = torch.where(value >= 0)[0]
            if not len(left):
                break
            side = max(1, round((share(step, self.steps, self.first) * height * width) ** 0.5))
            side = min(side, height, width)
            tried = best[left].clone()
            rows, columns = (torch.randint(0, full - side + 1, (len(left),)).tolist() for full in (height, width))
            signs = torch.randint(0, 2, (len(left), 3, 1, 1), device=image.device) * 2 - 1
            for n, (i, y, x) in enumerate(zip(left.tolist(), rows, columns, strict=True)):
                window = (slice(None), slice(y, y + side), slice(x, x + side))
                tried[n][window] = (image[i][window] + budget * signs[n]).clamp(0, 1)
            found = margin(model(tried), label[left])
            better = found < value[left]
            best[left[better]], value[left[better]] = tried[better], found[better]
        return torch.where((untouched > value).view(-1, 1, 1, 1), best, image)
