"""SwAV: from one crop of an image, predict to which prototypes another crop of it was assigned.

The idea in three sentences. Every crop is compared with learnt prototypes, and a Sinkhorn iteration assigns the crops
of a batch to them so that all are used alike, which keeps all crops from ending at one. Each crop then has to predict
the assignment of another crop of its image. It needs no negatives and no teacher, and small crops are cheap views.

Caron et al.: "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020,
arXiv 2006.09882.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.nn.contrastive import soft_cross_entropy

CARD = {
    "title": "SwAV (swapped assignments between views)",
    "paper": "Caron et al., NeurIPS 2020, arXiv 2006.09882",
    "task": "two large crops and any number of small ones -> an encoder",
    "licence": "Apache-2.0; written from the paper's formulas. The authors' code and weights are CC BY-NC, not used",
    "verified": "loss and gradient equal lightly's; the collapse control; no ImageNet number was reproduced",
}


def swav_loss(scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Mean over assigned crops i, and over all crops v but i, of -sum over k of codes_i log softmax(scores_v / T).

    Args:
        scores: of each crop (B, K), cosines with the prototypes; the assigned ones first.
        codes: of each assigned crop (B, K), rows that sum to 1 (`unmask.nn.sinkhorn`).
    """
    terms = [
        soft_cross_entropy(score / temperature, code)
        for i, code in enumerate(codes)
        for v, score in enumerate(scores)
        if v != i
    ]
    return torch.stack(terms).mean()
