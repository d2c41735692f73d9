"""Attention pooling by a learned token."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenPool(nn.Module):
    """(B, N, D) -> (B, D): a learned vector is put before the tokens, and its place after some layers is the result.

    It sees a set: without positions in the tokens their order changes nothing. Trinh, Luong and Le, arXiv 1906.02940.
    """

    def __init__(self, width: int, depth: int = 3, heads: int = 32, hidden: int = 640, dropout: float = 0.1) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, "gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        query = self.query.to(tokens.dtype).expand(len(tokens), 1, -1)
        pooled: Tensor = self.layers(torch.cat([query, tokens], 1))[:, 0]
        return pooled
