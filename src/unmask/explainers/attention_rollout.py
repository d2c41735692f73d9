"""Attention rollout: how far each patch reaches the token that the head reads, through all layers.

The idea in three sentences. In each layer a token is a mixture of the tokens below, by the attention weights, and of
itself, by the residual connection. Multiplying these mixtures layer by layer tells how much of each patch arrives at
the top. The row of the class token, or the mean of all rows where the head averages, is the map.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, arXiv 2005.00928. Rollout knows no verdict:
the map is the same towards fake and towards real, and it only says what a transformer could have used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from unmask.base.explainer import Explainer, Score
from unmask.base.predict import differentiable
from unmask.errors import InputError
from unmask.types import Floats, Pixels

CARD = {
    "title": "Attention rollout",
    "paper": "Abnar and Zuidema, ACL 2020, arXiv 2005.00928",
    "task": "a crop and a vision transformer in PyTorch -> how much of each patch reaches the token that is read",
    "licence": "Apache-2.0",
    "verified": "two layers by hand; recorded weights equal those that transformers gives",
}


def attention_rollout(attentions: Sequence[Tensor]) -> Tensor:
    """A_L ... A_1 with A_l = (W_l + I) / 2, rows normalised (eq. 1).

    Args:
        attentions: of each layer from the lowest, (N, N), averaged over the heads; rows sum to 1.
    Returns: (N, N); row i says how much of each token of the input is in token i at the top.
    """
    rolled = torch.eye(len(attentions[0])).to(attentions[0])
    for weights in attentions:
        mixed = (weights + torch.eye(len(weights)).to(weights)) / 2
        rolled = mixed / mixed.sum(1, keepdim=True) @ rolled
    return rolled


class AttentionRollout(Explainer):
    """For detectors on a transformer of square images, with any number of extra tokens before the patches."""

    needs_gradients = True  # it needs no gradient, but the network inside the model

    def __init__(self, *, read: Literal["class", "mean"] = "class") -> None:
        """`read`: what the head reads, the first token or the mean of the patches."""
        self.read = read

    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        inner = differentiable(model)
        with torch.inference_mode(), Attentions() as seen:
            inner.log_odds(inner.leaf(image).detach())
        square = [w for w in seen.weights if w.shape == seen.weights[0].shape and w.shape[0] == w.shape[1]]
        side = isqrt(len(square[0]) - 1) if square else 0
        if side < 2:
            raise InputError("the detector has no self-attention over patches: attention_rollout is for transformers")
        extra = len(square[0]) - side * side
        rolled = attention_rollout(square)[:, extra:]
        found = rolled[0] if self.read == "class" else rolled[extra:].mean(0)
        return np.asarray(found.view(side, side).cpu().numpy(), np.float32)


class Attentions(TorchFunctionMode):
    """Records the weights of every `scaled_dot_product_attention` of one image, which timm and transformers call."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []  # (N, M) each, averaged over the heads

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is F.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | given
            self.weights.append(_weights(named["query"], named["key"], named.get("attn_mask"), given.get("scale")))
        return func(*args, **given)


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """softmax(q k^T / sqrt(d) + mask) of the first image, averaged over heads: (N, M)."""
    logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return logits.softmax(-1)[0].mean(0).float()
