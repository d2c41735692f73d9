"""Writing captions: a decoder that looks at an image's tokens, its loss, and greedy decoding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.precision import full


class AttentionPool(nn.Module):
    """(B, N, D) -> (B, queries, width): learnt queries look at the tokens once; LayerNorm before and after."""

    def __init__(self, inside: int, width: int, queries: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.before_query, self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(inside), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, kdim=inside, vdim=inside, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        query, tokens = self.before_query(self.query).expand(len(tokens), -1, -1), self.before(tokens)
        found: Tensor = self.after(self.attention(query, tokens, tokens, need_weights=False)[0])
        return found


class CrossDecoder(nn.Module):
    """Text states (B, L, D) and image tokens (B, M, D) -> logits of the next token (B, L, V).

    Each block: causal self-attention, cross-attention to the image, perceptron, with LayerNorm before each.
    """

    def __init__(self, width: int, depth: int, heads: int, size: int) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(width, heads, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.layers = nn.TransformerDecoder(layer, depth, nn.LayerNorm(width))
        self.vocabulary = nn.Linear(width, size, bias=False)

    def forward(self, states: Tensor, image: Tensor) -> Tensor:
        length = states.shape[1]
        ahead = torch.ones(length, length, dtype=torch.bool, device=states.device).triu(1)
        found: Tensor = self.vocabulary(self.layers(states, image, tgt_mask=ahead))
        return found


def caption_loss(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Mean over the sentences' own tokens but the first of -log p(token | those before it, image).

    Args:
        logits: (B, L, V), of the token that follows each.
        ids, mask: (B, L), token numbers and which are a sentence's own.
    """
    each = F.cross_entropy(full(logits[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    own = mask[:, 1:].flatten()
    return (each * own).sum() / own.sum().clamp_min(1)


@torch.no_grad()
def greedy(logits: Callable[[Tensor], Tensor], batch: int, start: int, end: int, length: int, device: str) -> Tensor:
    """The likeliest token after each token, until every sentence has ended: (B, L) with both marks.

    Args:
        logits: token numbers (B, l) -> (B, l, V).
    """
    ids = torch.full((batch, 1), start, device=device)
    over = torch.zeros(batch, dtype=torch.bool, device=device)
    while ids.shape[1] < length and not over.all():
        following = logits(ids)[:, -1].argmax(1).masked_fill(over, end)
        over = over | (following == end)
        ids = torch.cat([ids, following[:, None]], 1)
    return ids
