"""QAD: whatever an image went through, the same face must look the same to the network.

The idea in three sentences. A detector that learnt at one compression fails at another, so each training face comes at
several qualities. The statistical dependence between a batch's features at one quality and at another is maximised,
stage by stage of one network. And each step is taken by the gradient where the weights were pushed uphill a little: a
loss that is flat there changes little with the image's quality too.

Le and Woo: "Quality-Agnostic Deepfake Detection with Intra-model Collaborative Learning", ICCV 2023, arXiv 2309.05911.
Settings are those of the authors' configuration file; their training code was not at hand, formulas are from memory.

Where it differs from the paper or from DeepfakeBench. The qualities are made while loading, by the recipe's `views`,
from crops as they are stored (the authors read raw, c23 and c40 files of one frame): where faces are stored at 256
pixels, JPEG blocks and lost resolution are those of the net, and every view has the same geometry. Features are
brought to length sqrt(D) before the kernel, because one sigma of 6 must fit stages of 64 to 2048 channels; the
formulas and the counting of stages from the shallow end are from memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.base.method import Engine
from unmask.errors import InputError, RecipeError
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "QAD (quality-agnostic detection)",
    "paper": "Le and Woo, ICCV 2023, arXiv 2309.05911",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "dependence and weight perturbation by hand; formulas from memory, no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 32},
}
STAGES = 6  # five maps, each half as wide as the one before, and the logits


class QAD(Detector):
    """A network of five stages, mean over places, linear head; L = CE - `dependence` sum_l w_l sum_qr nHSIC_l(q, r).

    CE is the mean over qualities. It learns from batches with `views`: the qualities besides the image's own.
    """

    seen: Tensor

    def __init__(
        self,
        network: Literal["resnet-50", "efficientnet-b1", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 224,
        dependence: float = 1.0,
        stages: tuple[float, ...] = (0.1, 0.25, 0.5, 0, 0, 0),
        sigma: float = 6.0,
        perturb: float = 0.002,
        warmup: int = 0,
    ) -> None:
        """
        Args:
            dependence: weight of the dependence; 0 leaves it out. The authors' files have 0.003 and 0.002, for a
                dependence of unknown scale. Ours lies in 0..1; at weight 1 its gradient is about 1/17 of the
                cross-entropy's with a random resnet-50, and 1/4 with small-resnet (16 faces in two qualities).
            stages: w, the weight of each of the five maps, shallowest first, and of the logits. The configuration does
                not say from which end it counts: this is our reading.
            sigma: width of the kernel, for features whose length is the root of their number (ours, see `levelled`).
            perturb: length of the push of a layer's weights, as a share of their own; 0 = plain training. 0.002 with
                resnet-50, 0.006 with efficientnet-b1.
            warmup: batches before weights are pushed.
        Raises: UnmaskError unless there are six weights of stages.
        """
        super().__init__()
        if len(stages) != STAGES:
            raise InputError(f"stages has {len(stages)} weights: give {STAGES}, of five maps and of the logits")
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.dependence, self.stages, self.sigma = dependence, stages, sigma
        self.perturb, self.warmup = perturb, warmup
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))  # batches learnt, kept with the weights

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch without views."""
        if batch.views is None:
            raise RecipeError(
                "qad compares qualities of one image: name them in the recipe, as in "
                "views: [[{corruption: {kind: social, level: 2}}], [{corruption: {kind: social, level: 4}}]]"
            )
        pictures = torch.cat([batch.image[:, None], batch.views], 1).transpose(0, 1)  # (Q, B, 3, H, W)
        q = len(pictures)
        taps = self.taps(pictures.flatten(0, 1))
        terms = {"cls": cross_entropy(taps[-1], batch)}
        if self.dependence:
            found = [w * dependence(z.chunk(q), self.sigma) for w, z in zip(self.stages, taps, strict=True) if w]
            terms["dependence"] = -self.dependence * torch.stack(found).sum()
        return terms

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """The gradient of the loss at theta + v, applied at theta; v by `pushed`. Each process pushes by its own part.

        Returns: the terms at theta.
        """
        with engine.autocast():
            terms = self.loss(batch)
        total = torch.stack(list(terms.values())).sum()
        if self.perturb and int(self.seen) >= self.warmup:
            weights = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]  # no norms, no biases
            with pushed(weights, torch.autograd.grad(total, weights), self.perturb), _statistics_kept(self):
                with engine.autocast():
                    there = self.loss(batch)
                engine.backward(torch.stack(list(there.values())).sum())
        else:
            engine.backward(total)
        self.seen += 1
        if engine.update():
            self.updated(engine)
        return terms

    def taps(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> what the dependence looks at: means over places of five maps (N, D_l), and logits (N, 2)."""
        last, maps = self.body.body.forward_intermediates((image - self.body.mean) / self.body.std)  # type: ignore[operator]
        return [*(m.mean((2, 3)) for m in maps), self.head(last.mean((2, 3)))]

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


def dependence(qualities: Sequence[Tensor], sigma: float) -> Tensor:
    """Sum of `normalised_hsic` over all pairs of qualities of the same N faces, each (N, D)."""
    kernels = [gram(levelled(z), sigma) for z in qualities]
    return torch.stack([normalised_hsic(k, other) for k, other in combinations(kernels, 2)]).sum()


def normalised_hsic(one: Tensor, other: Tensor) -> Tensor:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) in 0..1: centred kernel alignment, free of the kernels' scale.

    Without the division, the term's gradient was 1/3300 of the cross-entropy's at the authors' weight (ours).
    Kornblith et al.: "Similarity of Neural Network Representations Revisited", ICML 2019, eq. 4.
    """
    return hsic(one, other) / (hsic(one, one) * hsic(other, other)).clamp_min(1e-16).sqrt()


def hsic(one: Tensor, other: Tensor) -> Tensor:
    """Biased Hilbert-Schmidt independence criterion tr(K H L H) / (n - 1)^2, H = 1 - 11'/n, of two kernels (N, N).

    At least 0, and 0 for a constant kernel; N > 1. Gretton et al.: "Measuring Statistical Dependence with
    Hilbert-Schmidt Norms", ALT 2005.
    """
    centred = one - one.mean(0) - one.mean(1, keepdim=True) + one.mean()  # HKH; L needs none, as HH = H
    found: Tensor = (centred * other).sum() / (len(one) - 1) ** 2
    return found


def gram(z: Tensor, sigma: float) -> Tensor:
    """(N, D) -> (N, N): exp(-||a - b||^2 / (2 sigma^2))."""
    square = z.square().sum(1)
    return torch.exp((2 * z @ z.T - square - square[:, None]).clamp_max(0) / (2 * sigma**2))


def levelled(z: Tensor) -> Tensor:
    """(N, D) -> each row at length sqrt(D): without this one sigma could not fit stages of different width (ours)."""
    return F.normalize(z.float(), dim=1) * math.sqrt(z.shape[1])


@contextmanager
def pushed(weights: Sequence[nn.Parameter], gradients: Sequence[Tensor], share: float) -> Iterator[None]:
    """Inside, each layer is at theta + v, v = share ||theta|| g / ||g||; afterwards at theta again, bitwise.

    Wu, Xia, Wang: "Adversarial Weight Perturbation Helps Robust Generalization", NeurIPS 2020.
    """
    before = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, g in zip(weights, gradients, strict=True):
            w.add_(g * (share * w.norm() / g.norm().clamp_min(1e-12)))
    try:
        yield
    finally:
        with torch.no_grad():
            for w, was in zip(weights, before, strict=True):
                w.copy_(was)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Inside, batch norm still uses the batch's statistics but does not gather them: a batch counts once."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    try:
        for m in norms:
            m.momentum = 0.0
        yield
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
