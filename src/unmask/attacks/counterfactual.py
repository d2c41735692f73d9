"""Counterfactual removal of artefacts: the nearest image on a manifold of faces that the detector calls real.

The idea in three sentences. A face is described by few numbers w, from which a decoder G draws it. Steps against the
sign of the gradient move w until the detector's verdict turns. What changed is an attack without pixel noise, and also
a map of the traces that the verdict rested on.

"Counterfactual Explanations for Face Forgery Detection via Adversarial Removal of Artifacts" (Artifact-Eraser),
ICME 2024, arXiv 2404.08341. The authors' G is StyleGAN2, whose weights are non-commercial; here it is linear. Their
(P_fake - 0)^2 and the margin have gradients of the same sign, so that the steps are the same. A flip by the inversion
G(E(x)) alone is no flip of the counterfactual: `inverted` keeps it, for the count that the paper asks for.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from unmask.base.attack import Attack, Logits, margin
from unmask.nn.manifold import opened

CARD = {
    "title": "Counterfactual artefact removal (Artifact-Eraser)",
    "paper": "ICME 2024, arXiv 2404.08341",
    "task": "images and a differentiable model -> images moved along a manifold of faces until it errs",
    "licence": "Apache-2.0; no weights: the paper's StyleGAN2 is replaced by a linear decoder",
    "verified": "steps on a linear model by hand; the direction of the loss; no published number",
    "small": {"steps": 20, "grid": 8},
}


class Counterfactual(Attack):
    """w <- w - step sign(d margin / dw), no number further than the budget from where it began."""

    norm = "own"
    unit: ClassVar[str] = "largest change of a latent number"

    def __init__(
        self, *, manifold: str = "", grid: int = 20, steps: int = 50, confidence: float = 0.2, detail: bool = True
    ) -> None:
        """
        Args:
            manifold: a file of `unmask.nn.manifold.save`, for images of this size; default: smooth images, a grid of
                `grid` x `grid` numbers for each colour.
            steps: of a tenth of the budget.
            confidence: how far beyond the boundary an image must get before it stops, in logits.
            detail: keep what the manifold cannot hold, x + G(w) - G(w_0); else G(w), as published.
        """
        self.manifold, self.grid, self.steps, self.confidence, self.detail = manifold, grid, steps, confidence, detail
        self.inverted: Tensor | None = None  # (B, 3, H, W): the images that the search of the last budget began at

    def usual(self) -> tuple[float, ...]:
        return (0.02, 0.05, 0.1, 0.2)

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        space = opened(self.manifold, self.grid, image)
        start = space.encode(image)
        rest = image - space.decode(start) if self.detail else torch.zeros_like(image)
        w = start
        self.inverted = (space.decode(start) + rest).clamp(0, 1)
        for _ in range(self.steps):
            moving = w.detach().requires_grad_()
            left = margin(model((space.decode(moving) + rest).clamp(0, 1)), label)
            (slope,) = torch.autograd.grad(left.sum(), moving)
            going = (left.detach() > -self.confidence)[:, None]
            if not going.any():
                break
            w = start + (w - going * 0.1 * budget * slope.sign() - start).clamp(-budget, budget)
        return (space.decode(w) + rest).clamp(0, 1).detach()


def trace(image: Tensor, moved: Tensor) -> Tensor:
    """(B, 3, H, W) twice -> (B, H, W): |image - moved| summed over the colours, what the verdict rested on."""
    return (image - moved).abs().sum(1)
