"""Steepest ascent of a loss in the images: what gradient attacks and adversarial training share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Logits = Callable[[Tensor], Tensor]


def loss_gradient(model: Logits, image: Tensor, label: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy with respect to the images, (B, 3, H, W)."""
    moving = image.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(moving), label, reduction="sum"), moving)
    return gradient


def steepest(gradient: Tensor, norm: Literal["linf", "l2"] | str) -> Tensor:
    """The direction of steepest ascent of length 1 in `norm`: (B, ...) -> (B, ...)."""
    if norm == "linf":
        return gradient.sign()
    length = gradient.flatten(1).square().sum(1).sqrt().clamp_min(1e-12)
    return gradient / length.view(-1, *[1] * (gradient.ndim - 1))
