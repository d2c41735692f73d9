"""Patch: one square that, printed anywhere on any image, makes the model err.

The idea in three sentences. A part of the image may be changed at will, all the rest not at all. The content of that
square is raised on a whole batch at once, at random places, turned by quarter turns, so that it works wherever it is
put. So the attack is universal: it is made once, and then costs nothing.

Brown et al., "Adversarial Patch", 2017, arXiv 1712.09665, without their perspective and scale; one patch for each
class of the batch, as what hides a forgery does not accuse a photograph.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits

CARD = {
    "title": "Adversarial patch",
    "paper": "Brown et al., 2017, arXiv 1712.09665",
    "task": "a batch of images and a differentiable model -> the images with one patch on a share of their area",
    "licence": "Apache-2.0",
    "verified": "pixels outside the patch are untouched; the same patch on all images; success beside ART's on one net",
    "small": {"steps": 20},
}


class Patch(Attack):
    """`steps` signed steps on one square for each class, at new places in every step; the budget is its area."""

    norm = "l0"
    unit: ClassVar[str] = "share of the area"

    def __init__(self, *, steps: int = 200, rate: float = 0.05, turns: bool = True) -> None:
        """
        Args:
            rate: of a step, in the image's 0..1.
            turns: by a random number of quarter turns.
        """
        self.steps, self.rate, self.turns = steps, rate, turns
        self.patches: dict[int, Tensor] = {}  # of the last budget, (3, side, side) by the class it was made against

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        side = int((budget * image.shape[2] * image.shape[3]) ** 0.5)
        if side < 1:
            return image
        out, self.patches = image.clone(), {}
        for kind in label.unique().tolist():
            of = label == kind
            patch = torch.full((3, side, side), 0.5, device=image.device)
            for _ in range(self.steps):
                moving = patch.requires_grad_()
                loss = F.cross_entropy(model(self._put(image[of], moving)), label[of])
                (gradient,) = torch.autograd.grad(loss, moving)
                patch = (moving + self.rate * gradient.sign()).clamp(0, 1).detach()
            self.patches[int(kind)] = patch
            out[of] = self._put(image[of], patch)
        return out

    def _put(self, image: Tensor, patch: Tensor) -> Tensor:
        """On each image at a place of its own."""
        side, (height, width) = patch.shape[1], image.shape[2:]
        made = []
        for one in image:
            y, x = (int(torch.randint(0, full - side + 1, ())) for full in (height, width))
            turned = torch.rot90(patch, int(torch.randint(0, 4, ())), (1, 2)) if self.turns else patch
            made.append(pasted(one, turned, y, x))
        return torch.stack(made)


def pasted(image: Tensor, patch: Tensor, y: int, x: int) -> Tensor:
    """(3, H, W) with (3, h, w) at row y and column x; differentiable in both."""
    height, width = image.shape[1] - y - patch.shape[1], image.shape[2] - x - patch.shape[2]
    place = F.pad(torch.ones_like(patch), (x, width, y, height))
    return image * (1 - place) + F.pad(patch, (x, width, y, height))
