"""Selfie: which of the hidden patches belongs into this gap?

The idea in three sentences. An image is cut into patches, some are hidden, and one network encodes each patch by
itself. Attention pools the shown ones into one vector, to which the position of a gap is added. That query must point
to the right patch among the hidden ones of the same image: masked prediction as in BERT, without painting pixels.

Trinh, Luong and Le: "Selfie: Self-supervised Pretraining for Image Embedding", arXiv 1906.02940.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.nn.contrastive import info_nce

CARD = {
    "title": "Selfie (pointing to hidden patches)",
    "paper": "Trinh, Luong and Le, arXiv 1906.02940",
    "task": "one image as patches -> which hidden patch fills which gap",
    "licence": "Apache-2.0",
    "verified": "loss by hand and against cross-entropy; permutation of candidates and of context; no official code",
}


def pointing_logits(query: Tensor, candidate: Tensor) -> Tensor:
    """Plain dot products, (B, T, T): gap by candidate.

    Args:
        query, candidate: (B, T, D), of the hidden places and of the hidden patches, in one order.
    """
    return query @ candidate.transpose(1, 2)


def selfie_loss(query: Tensor, candidate: Tensor) -> Tensor:
    """Mean over gaps t of -log exp(v_t h_t) / sum over the image's hidden t' of exp(v_t h_t'); no temperature.

    Args:
        query: v, (B, T, D).
        candidate: h, (B, T, D); other images' patches never enter.
    """
    logits = pointing_logits(query, candidate).flatten(0, 1)
    right = torch.eye(query.shape[1], dtype=torch.bool, device=query.device).repeat(len(query), 1)
    return info_nce(logits, right)
