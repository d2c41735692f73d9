"""The discrete cosine transform of images: few numbers that draw smooth images, and blocks for a trigger."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def basis(count: int, size: int) -> Tensor:
    """(count, size), orthonormal rows: the first `count` functions of the DCT-II on `size` samples."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    rows = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * place) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows.float()


def low_frequencies(z: Tensor, height: int, width: int) -> Tensor:
    """(B, C, K, K) -> (B, C, height, width): smooth images; a coefficient of 1 reaches about 1."""
    rows, columns = (basis(z.shape[-1], n).to(z) * (n / 2) ** 0.5 for n in (height, width))
    return torch.einsum("bckl,kh,lw->bchw", z, rows, columns)
