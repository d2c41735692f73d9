"""Cross-entropies of cosines with a margin: the true class must win by it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def am_softmax(cosine: Tensor, label: Tensor, margin: float | Sequence[float], scale: float) -> Tensor:
    """Mean of -log e^{s (c_y - m_y)} / (e^{s (c_y - m_y)} + sum of e^{s c_k} over the others).

    Wang et al., "Additive Margin Softmax for Face Verification", SPL 2018, arXiv 1801.05599.

    Args:
        cosine: (N, K); label: (N,).
        margin: one for all, or one for each of the K classes.
    """
    return F.cross_entropy(additive_margin(cosine, label, margin, scale), label)


def additive_margin(cosine: Tensor, label: Tensor, margin: float | Sequence[float], scale: float) -> Tensor:
    """The logits of `am_softmax`, (N, K): s (c_k - m_k) for the true class, s c_k for the others."""
    each = list(margin) if isinstance(margin, Sequence) else [margin] * cosine.shape[1]
    own = torch.tensor(each, device=cosine.device)[label]
    return scale * (cosine - F.one_hot(label, cosine.shape[1]) * own[:, None])


def with_margin(cosine: Tensor, label: Tensor, margin: float) -> Tensor:
    """cos(theta + margin) for each face's own person, cos(theta) for the others (eq. 3, before its scale).

    Where theta + margin passes pi, cos(theta) - margin sin(margin) goes on falling, as in the authors' code.

    Args:
        cosine: (N, people) in -1..1; label: (N,).
    """
    own = cosine.gather(1, label[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    turned = torch.cos(torch.acos(own) + margin)
    past = own <= -math.cos(margin)
    return cosine.scatter(1, label[:, None], torch.where(past, own - margin * math.sin(margin), turned))


def arcface_loss(embedding: Tensor, centres: Tensor, label: Tensor, margin: float = 0.5, scale: float = 64.0) -> Tensor:
    """Cross-entropy of scaled cosines, the own one by `with_margin`.

    Args:
        embedding: (N, D); centres: (people, D), both of any length.
        label: (N,) in 0..people - 1.
    """
    cosine = F.normalize(embedding, dim=1) @ F.normalize(centres, dim=1).T
    return F.cross_entropy(with_margin(cosine, label, margin) * scale, label)
