"""Transfer: made on other detectors that are known, tried on one that is not (MI-FGSM with diverse inputs).

The idea in three sentences. Detectors that learnt the same task err alike, so a change that fools several known ones
often fools an unknown one, which then is never asked. Momentum keeps the ascent from following what is peculiar to a
point, and random resizing and padding of the image what is peculiar to its place. The logits of all surrogates are
averaged before the loss.

Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, arXiv 1710.06081, algorithm 2 (ensemble in
logits); Xie et al., "Improving Transferability of Adversarial Examples with Input Diversity", CVPR 2019,
arXiv 1803.06978.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits, project
from unmask.base.white_box import white_box
from unmask.nn.ascent import loss_gradient

CARD = {
    "title": "Transfer from surrogate models (MI-FGSM, diverse inputs)",
    "paper": "Dong et al., CVPR 2018, arXiv 1710.06081; Xie et al., CVPR 2019, arXiv 1803.06978",
    "task": "images and other, known detectors -> images within an L-inf budget for one that is not asked",
    "licence": "Apache-2.0",
    "verified": "two steps of momentum by hand; stays in its budget after saving to 8 bits",
}


class Transfer(Attack):
    """`steps` steps of budget / `steps`; without surrogates the attacked model is its own."""

    norm = "linf"

    def __init__(
        self, *, surrogates: tuple[str, ...] = (), steps: int = 10, decay: float = 1.0, diversity: float = 0.5
    ) -> None:
        """
        Args:
            surrogates: bundles with PyTorch weights, by the names that `unmask scan --detector` takes.
            diversity: probability that an image is resized and padded before a step.
        """
        self.models: list[Logits] = [white_box(name) for name in surrogates]
        self.black_box = bool(surrogates)
        self.steps, self.decay, self.diversity = steps, decay, diversity

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        known = self.models or [model]

        def together(x: Tensor) -> Tensor:
            seen = diverse(x) if float(torch.rand(())) < self.diversity else x
            return torch.stack([one(seen) for one in known]).mean(0)

        delta, momentum = torch.zeros_like(image), torch.zeros_like(image)
        for _ in range(self.steps):
            gradient = loss_gradient(together, (image + delta).clamp(0, 1), label)
            momentum = with_momentum(momentum, gradient, self.decay)
            delta = project(delta + budget / self.steps * momentum.sign(), self.norm, budget)
        return image + delta


def with_momentum(momentum: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """decay * momentum + gradient / mean |gradient| of each image."""
    return decay * momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)


def diverse(image: Tensor) -> Tensor:
    """Shrunk to 85..100 % of its side and put at a random place of a black image of the old size."""
    height, width = image.shape[2:]
    share = 0.85 + 0.15 * float(torch.rand(()))
    size = max(1, int(height * share)), max(1, int(width * share))
    top, left = (int(torch.randint(0, full - part + 1, ())) for full, part in zip((height, width), size, strict=True))
    small = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    return F.pad(small, (left, width - size[1] - left, top, height - size[0] - top))
