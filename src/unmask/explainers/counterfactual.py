"""Counterfactual trace: what must change for the detector to say the opposite, on a manifold of faces.

The idea in three sentences. A face is described by few numbers w, from which a decoder G draws it. Steps against the
sign of the gradient of the score move w until the verdict turns round. What changed between the two images is the trace
that the verdict rests on.

"Counterfactual Explanations for Face Forgery Detection via Adversarial Removal of Artifacts" (Artifact-Eraser),
ICME 2024, arXiv 2404.08341. The authors' G is StyleGAN2, whose weights are non-commercial; here G is linear: smooth
changes, or principal components of faces from a file. Their loss (P_fake - 0)^2 and the log-odds have the same sign of
gradient, so the steps are the same. A flip shows what the detector reacts to, not what the real face looked like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.explainer import Explainer, Score
from unmask.base.predict import differentiable
from unmask.errors import BundleError, InputError
from unmask.types import Floats, Pixels

CARD = {
    "title": "Counterfactual trace (Artifact-Eraser)",
    "paper": "Artifact-Eraser, ICME 2024, arXiv 2404.08341",
    "task": "a crop and a detector in PyTorch -> where the nearest image of the other verdict differs",
    "licence": "Apache-2.0; no weights: the paper's StyleGAN2 is replaced by a linear decoder",
    "verified": "the score falls towards real and rises towards fake; a planted artefact is found; no published number",
    "small": {"steps": 10, "grid": 16},
}
Decode = Callable[[Tensor], Tensor]  # (1, K) -> (1, 3, S, S)


@dataclass(frozen=True)
class Counterfactual:
    """The image (1, 3, S, S) in 0..1 where the search ended, after how many steps, and whether the verdict turned."""

    image: Tensor
    steps: int
    flipped: bool


def counterfactual(
    score: Callable[[Tensor], Tensor], decode: Decode, start: Tensor, step: float, steps: int, confidence: float
) -> Counterfactual:
    """w <- w - step sign(dscore(G(w))/dw) until score(G(w)) < -confidence, or `steps` are done.

    Args:
        score: (1, 3, S, S) -> (1,), positive for the verdict that is explained.
        start: (1, K), the image's own place on the manifold.
        confidence: how far beyond 0 the score must fall, in log-odds.
    """
    w = start.detach().clone()
    for done in range(steps + 1):
        w.requires_grad_(True)
        image = decode(w).clamp(0, 1)
        value = score(image)
        if bool(value < -confidence) or done == steps:
            return Counterfactual(image.detach(), done, bool(value < -confidence))
        (slope,) = torch.autograd.grad(value.sum(), w)
        w = (w - step * slope.sign()).detach()
    raise AssertionError("the loop returns at its last step")


@dataclass(frozen=True)
class Linear:
    """G(w) = mean + w B, with B (K, 3 S S) of orthonormal rows."""

    mean: Tensor  # (3 S S,)
    components: Tensor

    def encode(self, image: Tensor) -> Tensor:
        """(1, 3, S, S) -> (1, K)"""
        return (image.flatten(1) - self.mean) @ self.components.T

    def decode(self, w: Tensor, size: int) -> Tensor:
        return (self.mean + w @ self.components).view(1, 3, size, size)


def principal_components(crops: Pixels, count: int) -> Linear:
    """Of faces uint8 (N, S, S, 3), count <= N; `save` keeps them for the option `manifold`."""
    flat = torch.from_numpy(crops).movedim(-1, 1).flatten(1).float() / 255
    if not 0 < count <= len(flat):
        raise InputError(f"{len(flat)} crops have at most so many principal components, not {count}")
    mean = flat.mean(0)
    _, _, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    return Linear(mean, directions[:count].contiguous())


def save(manifold: Linear, path: Path) -> None:
    """As safetensors."""
    from safetensors.torch import save_file

    save_file({"mean": manifold.mean, "components": manifold.components}, path)


class CounterfactualTrace(Explainer):
    """The detail that the manifold cannot hold stays as it is: x' = x + G(w) - G(w_0)."""

    needs_gradients = True

    def __init__(
        self, *, manifold: str = "", grid: int = 20, step: float = 0.004, steps: int = 50, confidence: float = 0.2
    ) -> None:
        """
        Args:
            manifold: a file of `save`, for crops of the detector's size. Default: smooth changes, a grid of
                `grid` x `grid` numbers for each colour, enlarged bilinearly.
            step: of each number and each step; of an image in 0..1 for the grid.
            steps, confidence: of `counterfactual`.
        """
        self.manifold, self.grid, self.step, self.steps, self.confidence = manifold, grid, step, steps, confidence

    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        inner = differentiable(model)
        x = inner.leaf(image).detach()
        found = counterfactual(
            lambda image: inner.log_odds(image) if towards_fake else -inner.log_odds(image),
            *self.place(x),
            self.step,
            self.steps,
            self.confidence,
        )
        return np.asarray((found.image - x).abs().sum(1)[0].cpu().numpy(), np.float32)

    def place(self, x: Tensor) -> tuple[Decode, Tensor]:
        """G with the detail of x (1, 3, S, S) added, and w_0."""
        size = x.shape[-1]
        if not self.manifold:
            start = torch.zeros(1, 3 * self.grid * self.grid, device=x.device)
            return lambda w: x + F.interpolate(w.view(1, 3, self.grid, self.grid), (size, size), mode="bilinear"), start
        linear = _read(Path(self.manifold), x)
        start = linear.encode(x)
        detail = x - linear.decode(start, size)
        return lambda w: linear.decode(w, size) + detail, start


def _read(path: Path, x: Tensor) -> Linear:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        held = load_file(path)
        linear = Linear(held["mean"].to(x), held["components"].to(x))
    except (OSError, SafetensorError, KeyError) as error:
        raise BundleError(f"cannot read a manifold of faces from {path}: {error}") from error
    if linear.mean.shape != (x.numel(),) or linear.components.shape[1:] != (x.numel(),):
        side = x.shape[-1]
        raise BundleError(f"{path} holds faces of another size than the detector's {side} x {side}: fit it anew")
    return linear
