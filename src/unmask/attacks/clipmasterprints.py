"""CLIPMasterPrints: one image that an image-text model finds similar to many captions at once.

The idea in three sentences. Image and text embeddings lie in two separate cones, so an image off the manifold of
photographs can lie nearer to many captions than any photograph does. It is mined by raising the smallest similarity
over the captions: without bounds (SGD), around a photograph in steps of one grey level (PGD), or by scores alone
(CMA-ES). Shifting both cones towards each other by the mean gap takes it away, until it is mined through the shift.

"CLIPMasterPrints: Fooling CLIP Models Using Latent Variable Evolution", arXiv 2307.03798. The authors' black box
searches the latents of Stable Diffusion's decoder; here it searches low frequencies of the image's cosine transform and
needs no other model. `gap` is the mean over each embedding's dimension; their adaptive miner takes one scalar.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits, project
from unmask.nn.cosine import low_frequencies

CARD = {
    "title": "CLIPMasterPrints",
    "paper": "arXiv 2307.03798",
    "task": "images and similarities to captions -> images similar to many captions at once",
    "licence": "Apache-2.0",
    "verified": "loss, outscored share and gap by hand; not mined on published encoders, no published number",
    "small": {"steps": 20},
}


def weakest(scores: Tensor, label: Tensor, captions: tuple[int, ...] = ()) -> Tensor:
    """(B, K) -> (B,): the smallest similarity over `captions`; of none named, over all but the image's own.

    Args:
        label: (B,) the image's own caption.
    """
    if captions:
        return scores[:, list(captions)].amin(1)
    return scores.scatter(1, label[:, None], float("inf")).amin(1)


def outscored(mined: Tensor, own: Tensor, label: Tensor) -> float:
    """Share of photographs less similar to their own caption than the mined image is to it.

    Args:
        mined: (K,) similarities of one image to all captions.
        own: (N,) similarity of each photograph to its caption. `label`: (N,) which caption that is.
    """
    return float((own < mined[label]).double().mean())


def gap(image: Tensor, text: Tensor) -> Tensor:
    """Embeddings (N, D) of images and (C, D) of captions -> (D,): mean image minus mean caption."""
    return image.mean(0) - text.mean(0)


def without_gap(image: Tensor, text: Tensor, gap: Tensor, weight: float = 0.25) -> tuple[Tensor, Tensor]:
    """The mitigation: norm(image - weight gap) and norm(text + weight gap), weight 0.25 in the paper."""
    return F.normalize(image - weight * gap, dim=-1), F.normalize(text + weight * gap, dim=-1)


class ClipMasterPrints(Attack):
    """Raises the weakest of many scores. The budget of "sgd" as published is 1: no bound at all."""

    norm = "linf"

    def __init__(
        self,
        *,
        miner: Literal["sgd", "pgd", "cma"] = "pgd",
        captions: tuple[int, ...] = (),
        steps: int = 1000,
        rate: float = 0.1,
        grid: int = 5,
    ) -> None:
        """
        Args:
            captions: columns of the scores to raise; none = all but the image's own (`label`).
            steps: of gradient, or queries of "cma".
            rate: Adam's, of "sgd".
            grid: "cma" searches grid x grid frequencies of each colour, 75 numbers.
        """
        self.miner, self.captions, self.steps, self.rate, self.grid = miner, captions, steps, rate, grid
        self.black_box = miner == "cma"

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        if budget == 0:
            return image
        if self.miner == "cma":
            return torch.stack([self._cma(model, x, y, budget) for x, y in zip(image, label, strict=True)])
        return self._sgd(model, image, label, budget) if self.miner == "sgd" else self._pgd(model, image, label, budget)

    def _pgd(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """One grey level up or down in each step, the best image kept; the image has 8 bits all along."""
        x, best, highest = image, image, torch.full((len(image),), float("-inf"), device=image.device)
        for step in range(self.steps + 1):
            moving = x.detach().requires_grad_()
            value = weakest(model(moving), label, self.captions)
            better = value.detach() > highest
            best = torch.where(better.view(-1, 1, 1, 1), x, best)
            highest = torch.where(better, value.detach(), highest)
            if step < self.steps:
                (gradient,) = torch.autograd.grad(value.sum(), moving)
                delta = project(x + gradient.sign() / 255 - image, "linf", budget)
                x = (image + delta).clamp(0, 1).detach()
        return best

    def _sgd(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """From noise, by Adam, clamped before the encoder; inside the budget where that is below 1."""

        def inside(x: Tensor) -> Tensor:
            return (image + project(x.clamp(0, 1) - image, "linf", budget)).clamp(0, 1)

        x = inside(torch.rand_like(image)).requires_grad_()
        optimizer = torch.optim.Adam([x], self.rate * min(1.0, budget))
        for _ in range(self.steps):
            optimizer.zero_grad()
            (-weakest(model(x), label, self.captions).sum()).backward()
            optimizer.step()
            with torch.no_grad():
                x.copy_(inside(x))
        return x.detach()

    @torch.no_grad()
    def _cma(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """CMA-ES over low frequencies; it sees scores alone."""
        try:
            import cma
        except ImportError as error:
            from unmask.errors import MissingExtraError

            raise MissingExtraError('the miner "cma" needs an extra: pip install "unmask[train]"') from error

        def drawn(codes: np.ndarray) -> Tensor:
            z = torch.from_numpy(codes).to(image).view(-1, 3, self.grid, self.grid)
            delta = low_frequencies(z, image.shape[1], image.shape[2])
            return (image + project(budget * delta, "linf", budget)).clamp(0, 1)

        seed = int(torch.randint(1, 2**31 - 1, ()))
        settings = {"seed": seed, "verbose": -9, "maxfevals": self.steps, "verb_log": 0}
        search = cma.CMAEvolutionStrategy(np.zeros(3 * self.grid**2), 0.5, settings)
        while search.countevals < self.steps:
            codes = search.ask()
            images = drawn(np.stack(codes))
            value = weakest(model((images * 255).round() / 255), label.expand(len(images)), self.captions)
            search.tell(codes, (-value).double().tolist())
        return drawn(search.result.xbest[None])[0]
