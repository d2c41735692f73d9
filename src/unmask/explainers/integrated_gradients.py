"""Integrated gradients: what each pixel adds on the way from an empty image to this one.

The idea in three sentences. Follow the straight line from a baseline without content to the image. The gradient of the
score along it, summed and multiplied by the way of each pixel, shares the difference of the two scores among the
pixels. The shares add up to that difference exactly, whatever the network (completeness).

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv 1703.01365.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from unmask.base.explainer import Explainer, Score
from unmask.base.predict import differentiable
from unmask.types import Floats, Pixels

CARD = {
    "title": "Integrated gradients",
    "paper": "Sundararajan, Taly and Yan, ICML 2017, arXiv 1703.01365",
    "task": "a crop and a detector in PyTorch -> what each pixel adds to the score over a baseline",
    "licence": "Apache-2.0",
    "verified": "against captum, to 1e-5; the shares add up to the difference of the scores",
    "small": {"steps": 8},
}
CHUNK = 8  # points of the path that go through the detector together
Baseline = Literal["black", "grey", "blur"]


def integrated_gradients(score: Callable[[Tensor], Tensor], image: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """(x - x') times the integral of the gradient over a in 0..1 at x' + a (x - x'), by Gauss-Legendre quadrature.

    Args:
        score: (B, 3, H, W) -> (B,), differentiable.
        image, baseline: (1, 3, H, W), x and x'.
        steps: points of the quadrature.
    Returns: (3, H, W); its sum is score(x) - score(x') up to the error of the quadrature.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    alphas, shares = torch.from_numpy((nodes + 1) / 2).to(image), torch.from_numpy(weights / 2).to(image)
    way, total = image - baseline, torch.zeros_like(image)
    for at in range(0, steps, CHUNK):
        a, share = (v[at : at + CHUNK].view(-1, 1, 1, 1) for v in (alphas, shares))
        points = (baseline + a * way).detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(score(points).sum(), points)
        total += (share * slope).sum(0, keepdim=True)
    return (way * total)[0]


class IntegratedGradients(Explainer):
    """At the crop's own resolution: the positive part of the sum over the colours. `steps` passes forward and back."""

    needs_gradients = True

    def __init__(self, *, steps: int = 32, baseline: Baseline = "blur") -> None:
        """
        Args:
            steps: points of the quadrature.
            baseline: "blur", the crop without its detail (a deviation of a tenth of its side), "grey" or "black". A
                flat baseline also attributes the colours of the face; forgeries are mostly a matter of detail.
        """
        self.steps, self.baseline = steps, baseline

    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        inner = differentiable(model)
        x = inner.leaf(image).detach()
        found = integrated_gradients(inner.log_odds, x, self.empty(x), self.steps).sum(0)
        return np.asarray((found if towards_fake else -found).relu().cpu().numpy(), np.float32)

    def empty(self, image: Tensor) -> Tensor:
        """The baseline of (1, 3, S, S)."""
        if self.baseline != "blur":
            return torch.full_like(image, 0.5 if self.baseline == "grey" else 0.0)
        side = image.shape[-1]
        kernel = min(2 * (side // 5) + 1, 2 * ((side - 1) // 2) + 1)
        blurred: Tensor = gaussian_blur(image, [kernel, kernel], [side / 10, side / 10])
        return blurred
