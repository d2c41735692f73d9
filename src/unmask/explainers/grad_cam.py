"""Grad-CAM: the last feature maps, weighted by how much the score depends on each.

The idea in three sentences. The last feature maps of a network still know where things are. The gradient of the score,
averaged over each map, says how much that map speaks for the verdict. The weighted sum of the maps, where it is
positive, shows where the evidence lies.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
arXiv 1610.02391.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unmask.base.explainer import Explainer, Score
from unmask.base.predict import differentiable
from unmask.errors import InputError
from unmask.types import Floats, Pixels

CARD = {
    "title": "Grad-CAM",
    "paper": "Selvaraju et al., ICCV 2017, arXiv 1610.02391",
    "task": "a crop and a detector in PyTorch -> its last feature maps, weighted by the gradient of the score",
    "licence": "Apache-2.0",
    "verified": "against captum and pytorch-grad-cam, to 1e-5",
}


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(sum_k a_k A_k) with a_k the mean of the gradient over map k (eqs. 1 and 2).

    Args:
        activation, gradient: (B, C, h, w).
    Returns: (B, h, w), >= 0.
    """
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu()


class GradCAM(Explainer):
    """One pass forward and one back; the map is as coarse as the feature maps are."""

    needs_gradients = True

    def __init__(self, *, layer: str = "") -> None:
        """
        Args:
            layer: dotted name of the module whose output is taken, as in `named_modules`. Default: the last feature
                maps (C, h, w) that the score depends on, or the last normed tokens of a transformer.
        """
        self.layer = layer

    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        inner = differentiable(model)
        with outputs(inner.detector, self.layer) as seen:
            score = inner.log_odds(inner.leaf(image)).sum()
        score = score if towards_fake else -score
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(score, seen, allow_unused=True)
        for activation, gradient in zip(reversed(seen), reversed(gradients), strict=True):
            if gradient is None:
                continue
            maps, slopes = as_maps(activation.detach()), as_maps(gradient)
            if maps is not None and slopes is not None and bool(slopes.abs().sum() > 0):
                return np.asarray(grad_cam(maps, slopes)[0].cpu().numpy(), np.float32)
        raise InputError(f"the score depends on no feature maps of {self.layer or 'the detector'}: name another layer")


@contextmanager
def outputs(detector: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """The outputs of one module, or of all that can be maps, in the order in which they come."""
    seen: list[Tensor] = []
    modules = dict(detector.named_modules())
    if layer and layer not in modules:
        raise InputError(f"the detector has no module {layer!r}; it has {', '.join(list(modules)[1:6])}, ...")

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        out = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(out, Tensor) or not out.requires_grad:
            return
        if layer or (out.ndim == 4 and min(out.shape[2:]) > 1) or (out.ndim == 3 and isinstance(module, nn.LayerNorm)):
            seen.append(out)

    chosen = [modules[layer]] if layer else list(modules.values())
    hooks = [module.register_forward_hook(keep) for module in chosen]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise InputError(f"{layer or 'the detector'} gives no feature maps that depend on the image")


def as_maps(value: Tensor) -> Tensor | None:
    """Maps (B, C, h, w) as they are; tokens (B, n + h w, C) of a square image as maps, without the n first ones."""
    if value.ndim == 4:
        return value
    side = isqrt(value.shape[1] - 1) if value.ndim == 3 else 0
    if side < 2:
        return None
    tokens = value[:, value.shape[1] - side * side :]
    return tokens.transpose(1, 2).reshape(len(value), -1, side, side)
