"""Hallucinator: one harder positive more for every pair, made in the space of embeddings by a small perceptron.

The idea in three sentences. A query is moved a little away from its partner, along the line through both, and a small
perceptron turns the two into a further query. The host's loss (MoCo, SimCLR, SimSiam) then counts half for queries as
they are and half for hallucinated ones. After training the perceptron is thrown away, so that it costs next to nothing.

Wu et al.: "Hallucination Improves the Performance of Unsupervised Visual Representation Learning", ICCV 2023,
arXiv 2307.12168.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.nn.contrastive import nt_xent
from unmask.nn.heads import head

CARD = {
    "title": "Hallucinator",
    "paper": "Wu et al., ICCV 2023, arXiv 2307.12168",
    "task": "two views -> an encoder, with MoCo, SimCLR or SimSiam as its host",
    "licence": "Apache-2.0; written from the formulas: the authors' code has no licence",
    "verified": "without extrapolation and perceptron it is its host, gradient included; no published number",
}


def extrapolate(query: Tensor, partner: Tensor, share: Tensor | float) -> Tensor:
    """(1 + share) query - share partner: away from the partner.

    Args:
        query, partner: (N, D).
        share: in 0..0.1 in the paper, one number for the batch.
    """
    return (1 + share) * query - share * partner


class Hallucination(nn.Module):
    """[query ; extrapolated query] -> a further query (N, D): three layers, no normalisation, no shortcut."""

    def __init__(self, dim: int, strength: float = 0.1) -> None:
        """`strength`: the share to extrapolate by is drawn anew for each batch from 0..strength."""
        super().__init__()
        self.strength = strength
        self.mlp = head((2 * dim, 2 * dim, 2 * dim, dim), norm="none")

    def forward(self, query: Tensor, partner: Tensor) -> Tensor:
        share = self.strength * torch.rand((), device=query.device)
        further: Tensor = self.mlp(torch.cat([query, extrapolate(query, partner, share)], 1))
        return further


def published_nt_xent(query: Tensor, further: Tensor, key: Tensor, temperature: float = 0.5) -> Tensor:
    """SimCLR's loss as the authors' code has it: the pairs (query, key) and (further, key) in one batch.

    Every key is in it twice, once as a positive and once as a false negative of the same anchor: with orthonormal
    embeddings the loss ends at about log 3, not at 0. `(nt_xent(query, key) + nt_xent(further, key)) / 2` has no such
    floor.

    Args:
        query, further, key: (N, D).
    """
    return nt_xent(torch.cat([query, further]), torch.cat([key, key]), temperature)
