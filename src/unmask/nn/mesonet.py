"""What Meso-4 and MesoInception-4 share: their stages and their head, as in the authors' Keras code.

Afchar et al.: "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018, arXiv 1809.00888.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from unmask.errors import InputError
from unmask.types import InputSpec


def conv(inside: int, out: int, side: int, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, and ReLU; it starts as Keras' does."""
    layer = nn.Conv2d(inside, out, side, padding=dilation * (side // 2), dilation=dilation)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(OrderedDict(conv=layer, relu=nn.ReLU()))


def stage(inner: nn.Module, out: int, pool: int) -> nn.Sequential:
    """What `inner` makes of it, normalised and pooled. Keras' defaults: epsilon 1e-3, momentum 0.99 (here 0.01)."""
    norm = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01)
    return nn.Sequential(OrderedDict(inner=inner, norm=norm, pool=nn.MaxPool2d(pool)))


class MesoHead(nn.Module):
    """(B, 16, s, s) -> logits (B, 2), features (B, 16): dense 16, leaky ReLU, dense; dropout before each."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.drop, self.relu = nn.Dropout(0.5), nn.LeakyReLU(0.1)
        self.hidden, self.out = nn.Linear(16 * side * side, 16), nn.Linear(16, 2)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.relu(self.hidden(self.drop(maps.flatten(1))))
        return self.out(self.drop(features)), features


def crops(size: int) -> InputSpec:
    """Faces as they are, from 0 to 1. Raises: UnmaskError for a side that four poolings do not divide."""
    if size % 32:
        raise InputError(f"MesoNet takes crops of a side that 32 divides, not {size}: its published one is 256")
    return InputSpec(size=size, margin=1.3, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
