"""Cosine and Fourier transforms of square images as matrix products: every runtime has those, few have an FFT."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor


def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II: D[k, n] = sqrt((2 - [k = 0]) / size) cos(pi (n + 1/2) k / size).

    D x D' are the coefficients of an image x, D' c D is the image of coefficients c.

    Returns: (size, size) float32.
    """
    k, n = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)[None]
    scale = torch.where(k == 0, 1.0, 2.0).div(size).sqrt()
    return (scale * torch.cos(math.pi * (n + 0.5) * k / size)).float()


def dft_matrices(size: int) -> tuple[Tensor, Tensor]:
    """C[k, n] = cos(2 pi k n / size) and S[k, n] = sin(2 pi k n / size): the DFT is F = C - iS, unnormalised.

    Both are symmetric. F x F are the coefficients of an image x.

    Returns: twice (size, size) float32.
    """
    n = torch.arange(size, dtype=torch.float64)
    angle = 2 * math.pi * torch.outer(n, n).remainder(size) / size
    return torch.cos(angle).float(), torch.sin(angle).float()


def dft(x: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """F x F = (C x C - S x S) - i (S x C + C x S), real and imaginary part.

    Args:
        x: (..., size, size), real; c, s: of `dft_matrices(size)`.
    """
    cx, sx = c @ x, s @ x
    return cx @ c - sx @ s, -(sx @ c + cx @ s)


def bands(size: int, edges: tuple[float, ...], *, closed: bool = False) -> Tensor:
    """Which coefficients (i, j) lie in band b: edges[b] <= i + j < edges[b + 1]; with `closed`, <= on both sides.

    Returns: (len(edges) - 1, size, size) of 0 and 1.
    """
    n = torch.arange(size)
    line = n[:, None] + n[None]
    inside = [(line >= low) & ((line <= high) if closed else (line < high)) for low, high in pairwise(edges)]
    return torch.stack(inside).float()
