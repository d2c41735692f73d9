"""FGSM: one step of the budget's size along the sign of the loss's gradient.

The idea in three sentences. A network is nearly linear around an image. So the change of each pixel by at most eps that
raises the loss most is eps times the sign of the gradient. One backward pass gives it, which makes it the cheapest
attack and a lower bound on what others do.

Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, arXiv 1412.6572, section 4.
"""

from __future__ import annotations

from torch import Tensor

from unmask.base.attack import Attack, Logits
from unmask.nn.ascent import loss_gradient

CARD = {
    "title": "FGSM (fast gradient sign method)",
    "paper": "Goodfellow, Shlens and Szegedy, ICLR 2015, arXiv 1412.6572",
    "task": "images and a differentiable model -> images changed by at most eps a pixel value",
    "licence": "Apache-2.0",
    "verified": "the step on a linear model by hand; foolbox's FGSM to 1e-6; 8-bit budget",
}


class FGSM(Attack):
    """x + eps sign(dL/dx)."""

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        return image + budget * loss_gradient(model, image, label).sign()
