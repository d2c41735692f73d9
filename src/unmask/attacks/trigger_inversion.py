"""Trigger inversion: the smallest pattern that sends all images to one class (Neural Cleanse).

The idea in three sentences. A backdoor is a shortcut: a small pattern that leads from every class to the target. For a
class a mask and a pattern are searched that do this, while the mask is kept small. A class that is reached by a much
smaller mask than the others was probably poisoned; as an attack the pattern is universal.

Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks", IEEE S&P 2019.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits

CARD = {
    "title": "Trigger inversion (Neural Cleanse)",
    "paper": "Wang et al., IEEE S&P 2019",
    "task": "a batch of images and a differentiable model -> the images with one small pattern",
    "licence": "Apache-2.0",
    "verified": "finds a planted trigger's class on a small network; the outlier index by hand (measure.backdoor)",
    "small": {"steps": 40},
}


def invert(
    model: Logits, image: Tensor, target: Tensor, *, steps: int = 200, rate: float = 0.1, weight: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Mask (1, 1, H, W) and pattern (1, 3, H, W) in 0..1, for (1 - mask) image + mask pattern.

    L = CE(model(...), target) + weight * sum of the mask, by Adam.

    Args:
        image: (B, 3, H, W). `target`: (B,) the class that all should become, of each image.
    """
    height, width = image.shape[2:]
    mask = torch.full((1, 1, height, width), -2.0, device=image.device).requires_grad_()
    pattern = torch.zeros(1, 3, height, width, device=image.device).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], rate)
    for _ in range(steps):
        m, p = mask.sigmoid(), pattern.sigmoid()
        loss = F.cross_entropy(model((1 - m) * image + m * p), target) + weight * m.sum()
        optimizer.zero_grad()
        mask.grad, pattern.grad = torch.autograd.grad(loss, [mask, pattern])
        optimizer.step()
    return mask.sigmoid().detach(), pattern.sigmoid().detach()


class TriggerInversion(Attack):
    """For each true class one mask and pattern, towards the class that its images are nearest to otherwise."""

    norm = "own"
    unit: ClassVar[str] = "mean of the mask"

    def __init__(self, *, steps: int = 200, rate: float = 0.1, weight: float = 0.01) -> None:
        self.steps, self.rate, self.weight = steps, rate, weight

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        if budget == 0:
            return image
        out = image.clone()
        with torch.no_grad():
            logits = model(image)
        for kind in label.unique():
            of = label == kind
            others = logits[of].mean(0)
            others[kind] = float("-inf")
            target = others.argmax().expand(int(of.sum()))
            m, p = invert(model, image[of], target, steps=self.steps, rate=self.rate, weight=self.weight)
            m = m * min(1.0, budget / float(m.mean()))
            out[of] = (1 - m) * image[of] + m * p
        return out
