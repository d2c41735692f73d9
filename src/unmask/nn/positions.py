"""Fixed positions of a grid of tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def sine_cosine(width: int, side: int, leading: int = 1) -> Tensor:
    """(leading + side^2, width): sines and cosines of the column, then those of the row; zero for leading tokens.

    Frequencies are 10000^(-i / (width / 4)), as in MAE (He et al., CVPR 2022).

    Raises: ValueError unless four divides `width`.
    """
    if width % 4:
        raise ValueError(f"the width of sine-cosine positions must be divisible by four, and {width} is not")
    frequency = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    line = torch.cat([angle.sin(), angle.cos()], 1)  # (side, width / 2)
    column, row = line[None].expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    grid = torch.cat([column, row], 2).flatten(0, 1)
    return torch.cat([torch.zeros(leading, width, dtype=torch.float64), grid]).float()
