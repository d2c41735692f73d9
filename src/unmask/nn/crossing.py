"""Attention between two streams that look at one face: each takes from the other what it has at the places that agree.

Luo et al. (CVPR 2021) call it dual cross-modality attention, Qian et al. (ECCV 2020, F3-Net) have it in their MixBlock;
both papers' formulas from memory, and one form for the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Crossing(nn.Module):
    """E = K(a)' K(b) over all pairs of places; a + g V(b) softmax(E)', b + h V(a) softmax(E')'. g and h begin at 0.

    Two maps (B, C, H, W) of one shape in and out.
    """

    def __init__(self, width: int, ratio: int = 8) -> None:
        """`ratio`: channels of the maps over those of the keys."""
        super().__init__()
        keys = max(width // ratio, 1)
        self.one, self.other = (nn.Conv2d(width, keys, 1, bias=False) for _ in range(2))
        self.shared = nn.Conv2d(keys, keys, 1, bias=False)
        self.from_one, self.from_other = (nn.Conv2d(width, width, 1, bias=False) for _ in range(2))
        self.gain_one, self.gain_other = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        key_a, key_b = (self.shared(key(x)).flatten(2) for key, x in ((self.one, a), (self.other, b)))
        energy = key_a.transpose(1, 2) @ key_b / key_a.shape[1] ** 0.5  # (B, places of a, places of b)
        to_a = self.from_other(b).flatten(2) @ energy.softmax(2).transpose(1, 2)
        to_b = self.from_one(a).flatten(2) @ energy.softmax(1)
        return a + self.gain_one * to_a.view_as(a), b + self.gain_other * to_b.view_as(b)
