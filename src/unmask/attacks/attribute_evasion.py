"""Attribute-conditioned evasion: a generated face that keeps its look and is called real.

The idea in three sentences. A generated face is moved in the generator's own latent space, so that no pixel noise
appears and defences against small changes see nothing. The loss holds the wanted attributes (a text, or a reference),
keeps the latent near its start, and asks known detectors to say "real". For a detector that is not known, each step is
learnt on some known ones so that it also helps on another one, left out of that step (meta-learning).

Shamshad, Srivatsan and Nandakumar, "Evading Forensic Classifiers with Attribute-Conditioned Adversarial Faces", CVPR
2023, arXiv 2306.13091. The authors' StyleGAN2 is non-commercial: here the generator is a linear manifold, LPIPS is a
difference of images reduced to 8 x 8, and a text's score is a function that the caller sets (`attribute`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits
from unmask.base.white_box import white_box
from unmask.nn.manifold import opened

CARD = {
    "title": "Attribute-conditioned evasion",
    "paper": "Shamshad, Srivatsan and Nandakumar, CVPR 2023, arXiv 2306.13091",
    "task": "generated faces and known detectors -> faces moved in the generator's latent space, called real",
    "licence": "Apache-2.0; no weights: the paper's StyleGAN2 is replaced by a linear manifold",
    "verified": "the losses of a meta step by hand; beats random latent moves of equal length; no published number",
    "small": {"steps": 20, "grid": 8, "rate": 0.05, "adversarial": 1.0},
}


def look(image: Tensor, start: Tensor) -> Tensor:
    """(B, 3, H, W) twice -> (B,): mean squared difference at 8 x 8, where identity and light are, not traces."""
    return (F.adaptive_avg_pool2d(image, 8) - F.adaptive_avg_pool2d(start, 8)).square().flatten(1).mean(1)


def adversarial(logits: Tensor, label: Tensor) -> Tensor:
    """BCE that asks for "not the true class": log of 1 - P(true class), negative and summed over B."""
    others = logits.scatter(1, label[:, None], float("-inf")).logsumexp(1)
    return F.softplus(logits.gather(1, label[:, None])[:, 0] - others).sum()


def meta_loss(
    models: list[Logits], draw: Callable[[Tensor], Tensor], w: Tensor, label: Tensor, inner: float, held_out: int
) -> Tensor:
    """Mean of the losses of all but one model, and of that one's after a step of size `inner` on each (first order)."""
    test, losses = models[held_out], []
    for k, model in enumerate(models):
        if k == held_out:
            continue
        loss = adversarial(model(draw(w)), label)
        (slope,) = torch.autograd.grad(loss, w, retain_graph=True)
        losses += [loss, adversarial(test(draw(w - inner * slope.detach())), label)]
    return torch.stack(losses).mean()


class AttributeEvasion(Attack):
    """Adam on the latent; the budget is how far it may move, in the latent's own length."""

    norm = "own"
    unit: ClassVar[str] = "length of the latent move"

    def __init__(
        self,
        *,
        manifold: str = "",
        grid: int = 20,
        surrogates: tuple[str, ...] = (),
        learning: Literal["meta", "ensemble"] = "meta",
        steps: int = 50,
        rate: float = 0.01,
        keep: float = 1.0,
        near: float = 5e-4,
        adversarial: float = 5e-3,
        inner: float = 0.01,
    ) -> None:
        """
        Args:
            manifold, grid: as of `counterfactual`.
            surrogates: bundles that are known; none = the attacked model itself.
            learning: over several surrogates; with one both are the same.
            rate, keep, near, adversarial, inner: Adam's rate, the weights of the three terms, and the inner step.
        """
        self.manifold, self.grid, self.learning, self.steps, self.rate = manifold, grid, learning, steps, rate
        self.keep, self.near, self.weight, self.inner = keep, near, adversarial, inner
        self.models: list[Logits] = [white_box(name) for name in surrogates]
        self.black_box = bool(surrogates)
        self.attribute: Callable[[Tensor, Tensor], Tensor] = look  # images and start images -> (B,), less is better

    def usual(self) -> tuple[float, ...]:
        return (0.5, 1.0, 2.0, 4.0)

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        space = opened(self.manifold, self.grid, image)
        start = space.encode(image)
        rest = image - space.decode(start)
        models = self.models or [model]

        def draw(w: Tensor) -> Tensor:
            return (space.decode(w) + rest).clamp(0, 1)

        w = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([w], self.rate)
        for _ in range(self.steps):
            made = draw(w)
            loss = self.keep * self.attribute(made, image).sum() + self.near * (w - start).square().sum()
            if len(models) > 1 and self.learning == "meta":
                held_out = int(torch.randint(0, len(models), ()))
                fooled = meta_loss(models, draw, w, label, self.inner, held_out)
            else:
                fooled = torch.stack([adversarial(one(made), label) for one in models]).mean()
            (gradient,) = torch.autograd.grad(loss + self.weight * fooled, w)
            w.grad = gradient
            optimizer.step()
            with torch.no_grad():
                length = (w - start).norm(dim=1, keepdim=True).clamp_min(1e-12)
                w.copy_(start + (w - start) * (budget / length).clamp(max=1))
        return draw(w).detach()
