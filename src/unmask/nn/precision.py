"""Losses on similarities are computed in float32 at least: half precision has no room for values near 1."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return x if x.dtype == torch.float64 else x.float()
