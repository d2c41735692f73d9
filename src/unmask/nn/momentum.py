"""A slow copy of a network that follows it: the teacher of MoCo, BYOL and PixPro."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, Literal

import torch
from torch import nn


class MomentumEncoder(nn.Module):
    """teacher <- m teacher + (1 - m) student, after each step of the optimiser; it never has a gradient."""

    roles: ClassVar = {"module": "averaged"}

    def __init__(self, student: nn.Module, buffers: Literal["copy", "average", "own"] = "copy") -> None:
        """
        Args:
            student: copied as it is now, weights included; build it first.
            buffers: what becomes of the running statistics of normalisation: the student's, averaged like the weights,
                or those that the teacher gathers in its own forward passes. Counters are always copied but for "own".
        """
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)
        self.buffers_are = buffers

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    @torch.no_grad()
    def follow(self, student: nn.Module, momentum: float) -> None:
        """One step towards the student. `momentum` in 0..1: 1 stays where it is, 0 copies."""
        for weight, target in zip(self.module.parameters(), student.parameters(), strict=True):
            weight.lerp_(target, 1 - momentum)
        if self.buffers_are == "own":
            return
        for mine, new in zip(self.module.buffers(), student.buffers(), strict=True):
            if self.buffers_are == "average" and mine.is_floating_point():
                mine.lerp_(new, 1 - momentum)
            else:
                mine.copy_(new)


def cosine_momentum(start: float, done: float) -> float:
    """From `start` to 1 over a run: 1 - (1 - start) (cos(pi done) + 1) / 2 (Grill et al., NeurIPS 2020, BYOL).

    Args:
        done: the part of the run that is over, 0..1.
    """
    return 1 - (1 - start) * (math.cos(math.pi * done) + 1) / 2
