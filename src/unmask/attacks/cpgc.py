"""C-PGC: one change for all images that takes them away from their captions, made by contrast.

The idea in three sentences. A universal change need not be found again for each image, so it is what an attacker can
afford. It is trained to push an image from its own caption and towards one that is least like it (contrast), and far
from its own embedding. The published form has a generator that turns fixed noise, told what the image is, into the
change; the direct form moves the pixels of the change themselves.

"One Perturbation is Enough: On Generating Universal Adversarial Perturbations against Vision-Language Pre-training
Models", ICCV 2025, arXiv 2406.05491: the image side. Words are not changed here. Embeddings are seen through the
model's scores for its captions (or classes), so the feature term is of scores too. A caption that is the only key makes
cross-attention a linear map, and it is written as one.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits, project

CARD = {
    "title": "C-PGC (universal change by contrast)",
    "paper": "ICCV 2025, arXiv 2406.05491",
    "task": "a batch of images and a differentiable model -> the images with one and the same change",
    "licence": "Apache-2.0; the authors' code has no licence and was not used",
    "verified": "both losses by hand; the change is the same on all images; image side alone; no published number",
    "small": {"steps": 20, "temperature": 1.0, "scales": ()},
}


def contrast(scores: Tensor, own: Tensor, far: Tensor, temperature: float = 0.1) -> Tensor:
    """log(U / (U + T)), U = exp(score of the own caption / t), T = exp(score of the far one / t); mean over B.

    Args:
        scores: (B, K) similarities of changed images. `own`, `far`: (B,) columns.
    """
    pair = torch.stack([scores.gather(1, c[:, None])[:, 0] for c in (own, far)], 1) / temperature
    return pair.log_softmax(1)[:, 0].mean()


def farthest(scores: Tensor) -> Tensor:
    """(B, K) scores of untouched images -> (B,): the caption least like each."""
    return scores.argmin(1)


def controls(delta: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """What a universal change (3, H, W) must beat: its size in random signs, its own pixels shuffled, its mirror image.

    The mirror image keeps L-inf, RMS and spectrum, the shuffled one L-inf and RMS; the signs have its RMS.
    """
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(delta[0].numel(), generator=draw)
    signs = torch.randint(0, 2, delta.shape, generator=draw).to(delta) * 2 - 1
    return {
        "signs": signs * delta.square().mean().sqrt(),
        "shuffled": delta.flatten(1)[:, order].view_as(delta),
        "mirrored": delta.flip(2),
    }


class NoiseGenerator(nn.Module):
    """Fixed noise (N, 100, 3, 3) and a condition (N, C) -> one change (1, 3, 384, 384) in -1..1.

    Seven transposed convolutions, the condition added after the second and fourth, and a convolution over the batch
    axis that makes one change of N.
    """

    def __init__(self, condition: int, images: int, width: int = 1024) -> None:
        super().__init__()
        widths = [width >> k for k in range(6)]  # 1024, 512, 256, 128, 64, 32
        layers, inside = [], 100
        for k, outside in enumerate(widths):
            conv = nn.ConvTranspose2d(inside, outside, 4, 1 if k == 0 else 2, 0 if k == 0 else 1)
            layers.append(nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU()))
            inside = outside
        self.layers = nn.ModuleList(layers)
        self.told = nn.ModuleDict({"1": nn.Linear(condition, widths[1]), "3": nn.Linear(condition, widths[3])})
        self.out = nn.ConvTranspose2d(inside, 3, 4, 2, 1)
        self.together = nn.Conv2d(images, 1, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        for k, layer in enumerate(self.layers):
            z = layer(z)
            if str(k) in self.told:
                z = z + self.told[str(k)](condition)[:, :, None, None]
        drawn = torch.tanh(self.out(z))
        one: Tensor = self.together(drawn.transpose(0, 1))
        return one.transpose(0, 1)


class CPGC(Attack):
    """One change for a batch; `delta` keeps it, to be tried on images that it never saw."""

    norm = "linf"

    def __init__(
        self,
        *,
        form: Literal["direct", "generator"] = "direct",
        steps: int = 100,
        batch: int = 16,
        temperature: float = 0.1,
        features: float = 0.1,
        scales: tuple[float, ...] = (0.5, 0.75, 1.25, 1.5),
        rate: float = 2e-4,
        width: int = 1024,
    ) -> None:
        """
        Args:
            batch: images of a step, drawn anew; the generator is told about the first such batch.
            temperature: 0.1 for cosines, 1 for logits.
            features: weight of the squared change of the scores.
            scales: further views, resized by these factors and back, with noise of 0.05.
            rate: Adam's, of the generator. The direct form takes signed steps of a tenth of the budget.
            width: channels of the generator's first layer.
        """
        self.form, self.steps, self.batch, self.temperature = form, steps, batch, temperature
        self.features, self.scales, self.rate, self.width = features, scales, rate, width
        self.delta: Tensor | None = None  # (3, H, W) of the last budget

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        with torch.no_grad():
            clean = model(image)
        size = min(self.batch, len(image))
        make = self._direct(image, budget) if self.form == "direct" else self._generated(clean[:size], image, budget)
        for _ in range(self.steps if budget else 0):
            some = torch.randperm(len(image))[:size]
            delta = make.change()
            loss = self._loss(model, image[some], delta, label[some], clean[some], budget)
            make.descend(loss)
        self.delta = project(make.change().detach(), "linf", budget)
        return image + self.delta

    def _loss(self, model: Logits, image: Tensor, delta: Tensor, label: Tensor, clean: Tensor, budget: float) -> Tensor:
        far = farthest(clean)
        far = torch.where(far == label, clean.scatter(1, label[:, None], float("inf")).argmin(1), far)
        x = (image + delta).clamp(0, 1)
        views = [(x + budget * (2 * torch.rand_like(x) - 1)).clamp(0, 1), *(self._resized(x, s) for s in self.scales)]
        total = torch.zeros((), device=image.device)
        for view in views:
            scores = model(view)
            total = total + contrast(scores, label, far, self.temperature)
            total = total - self.features * (scores - clean).square().sum(1).mean()
        return total

    def _resized(self, x: Tensor, scale: float) -> Tensor:
        height, width = x.shape[2:]
        size = [max(4, round(n * scale)) for n in (height, width)]
        small = F.interpolate(x, size=size, mode="bicubic", antialias=scale < 1)
        small = small + 0.05 * torch.randn_like(small)
        return F.interpolate(small, size=[height, width], mode="bicubic", antialias=scale > 1).clamp(0, 1)

    def _direct(self, image: Tensor, budget: float) -> _Direct:
        start = budget * (2 * torch.rand_like(image[0]) - 1)
        return _Direct(start, budget)

    def _generated(self, condition: Tensor, image: Tensor, budget: float) -> _Generated:
        network = NoiseGenerator(condition.shape[1], len(condition), self.width).to(image.device)
        return _Generated(network, condition, image.shape[2:], budget, self.rate)


class _Direct:
    """The pixels of the change themselves, by the sign of the gradient."""

    def __init__(self, start: Tensor, budget: float) -> None:
        self.delta, self.budget = start.requires_grad_(), budget

    def change(self) -> Tensor:
        return self.delta

    def descend(self, loss: Tensor) -> None:
        (gradient,) = torch.autograd.grad(loss, self.delta)
        moved = self.delta.detach() - 0.1 * self.budget * gradient.sign()
        self.delta = moved.clamp(-self.budget, self.budget).requires_grad_()


class _Generated:
    """The change that a generator draws from fixed noise, by Adam on the generator."""

    def __init__(
        self, network: NoiseGenerator, condition: Tensor, size: tuple[int, ...], budget: float, rate: float
    ) -> None:
        self.network, self.condition, self.size, self.budget = network, condition, list(size), budget
        self.z = torch.randn(len(condition), 100, 3, 3, device=condition.device)
        self.optimizer = torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999))

    def change(self) -> Tensor:
        drawn = self.network(self.z, self.condition).clamp(-1, 1) * self.budget
        return F.interpolate(drawn, size=self.size, mode="bilinear", antialias=True)[0]

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
