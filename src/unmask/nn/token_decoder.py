"""A few transformer blocks that read tokens at all places of an image: the light decoder of masked modelling."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from unmask.nn.positions import sine_cosine


class TokenDecoder(nn.Module):
    """(B, 1 + side^2, inside) -> (B, 1 + side^2, out): positions, pre-norm blocks, LayerNorm, linear map.

    `embed` is called by the owner, before or after the mask tokens are put in place: published decoders differ in it.
    The blocks are timm's. He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022.
    """

    positions: Tensor

    def __init__(self, inside: int, width: int, depth: int, heads: int, out: int, side: int) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        norm: Any = partial(nn.LayerNorm, eps=1e-6)  # timm asks for a type, and takes what makes a module
        self.embed = nn.Linear(inside, width)
        self.register_buffer("positions", sine_cosine(width, side)[None])
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)))
        self.norm, self.head = norm(width), nn.Linear(width, out)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens` as `embed` gives them."""
        read: Tensor = self.head(self.norm(self.blocks(tokens + self.positions)))
        return read
