"""Projection and prediction heads: small perceptrons between an encoder and a loss, thrown away after pre-training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import InputError
from unmask.nn.precision import full

Norm = Literal["none", "batch", "batch-plain", "layer"]
Activation = Literal["none", "relu", "gelu", "tanh"]


def head(
    widths: Sequence[int],
    *,
    norm: Norm = "batch",
    activation: Activation = "relu",
    last_norm: Norm = "none",
    last_activation: Activation = "none",
    last_bias: bool | None = None,
    unit: bool = False,
    maps: bool = False,
) -> nn.Sequential:
    """Linear layers, with norm and activation behind each; the last has its own.

    A layer before batch normalisation has no bias, which the norm would take away again; a hidden one before a layer
    norm has. The last layer before a layer norm has none either (SimLAP).

    Args:
        widths: of the input, of each hidden layer, and of the output; two numbers are one linear layer.
        norm, last_norm: "batch-plain" is batch normalisation without scale and shift.
        last_bias: None = where there is no last norm.
        unit: outputs become unit vectors (in float32 at least).
        maps: for (B, C, H, W) instead of (B, C): 1 x 1 convolutions.
    Raises: UnmaskError for fewer than two widths, and "layer" on maps.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(f"a head needs at least two positive widths, input and output, and not {list(widths)}")
    if maps and "layer" in (norm, last_norm):
        raise InputError('a head on maps has no layer norm: choose "batch" or "none"')
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for n, (wide, next_wide) in enumerate(pairwise(widths)):
        last = n == len(widths) - 2
        kind, act = (last_norm, last_activation) if last else (norm, activation)
        bias = last_bias if last and last_bias is not None else kind == "none" or (kind == "layer" and not last)
        linear = nn.Conv2d(wide, next_wide, 1, bias=bias) if maps else nn.Linear(wide, next_wide, bias=bias)
        found = (("linear", linear), ("norm", _norm(kind, next_wide, maps)), ("act", _activation(act)))
        layers.update((f"{name}{n}", module) for name, module in found if module is not None)
    if unit:
        layers["unit"] = Unit()
    return nn.Sequential(layers)


def with_head(encoder: nn.Module, projector: nn.Module) -> nn.Sequential:
    """(B, 3, S, S) -> (B, D): an encoder of maps (B, C, h, w), their mean over places, and a head on it."""
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(OrderedDict(encoder=encoder, pool=pool, flat=nn.Flatten(), projector=projector))


class Unit(nn.Module):
    """x / ||x|| along the second axis, in float32 at least."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(full(x), dim=1)


def _norm(kind: Norm, width: int, maps: bool) -> nn.Module | None:
    if kind == "none":
        return None
    if kind == "layer":
        return nn.LayerNorm(width)
    batch: type[nn.Module] = nn.BatchNorm2d if maps else nn.BatchNorm1d
    return batch(width, affine=kind == "batch")


def _activation(kind: Activation) -> nn.Module | None:
    kinds: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
    return kinds[kind]() if kind != "none" else None
