"""Triplets of a batch: anchor, positive, negative; which of them to learn from (FaceNet, CVPR 2015, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmask.nn.precision import full

Mining = Literal["semihard", "hardest", "all", "random"]


@torch.no_grad()
def mine_triplets(
    distance: Tensor,
    label: Tensor,
    kind: Mining = "semihard",
    margin: float = 0.2,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Indices (T,), (T,), (T,) of anchors, positives and negatives.

    semihard  d(a, p) < d(a, n) < d(a, p) + margin: all of them
    all       all
    hardest   for each pair (a, p) the nearest negative; learning from these alone can collapse to one point
    random    for each pair (a, p) one negative, by chance

    Args:
        distance: (N, N), squared or not, as the loss has it.
        label: (N,).
        generator: of the CPU, for "random".
    """
    distance = full(distance)
    same = label[:, None] == label
    anchor, positive = (same & ~torch.eye(len(label), dtype=torch.bool, device=label.device)).nonzero(as_tuple=True)
    to_all, different = distance[anchor], ~same[anchor]  # (P, N): a row for each pair
    if kind in ("semihard", "all"):
        wanted = different
        if kind == "semihard":
            to_positive = distance[anchor, positive][:, None]
            wanted = different & (to_all > to_positive) & (to_all < to_positive + margin)
        pair, negative = wanted.nonzero(as_tuple=True)
        return anchor[pair], positive[pair], negative
    some = different.any(1)
    anchor, positive, to_all, different = anchor[some], positive[some], to_all[some], different[some]
    if kind == "random":
        to_all = torch.rand(to_all.shape, generator=generator).to(distance.device)
    return anchor, positive, to_all.masked_fill(~different, torch.inf).min(1).indices


def triplet_loss(distance: Tensor, triplets: tuple[Tensor, Tensor, Tensor], margin: float = 0.2) -> Tensor:
    """Mean over the triplets of max(0, d(a, p) - d(a, n) + margin); 0 with a gradient of 0 where there are none.

    Args:
        distance: (N, N), squared Euclidean in FaceNet.
        triplets: indices (T,) of anchors, positives and negatives. Only those that `mine_triplets` calls semihard are
            sure to have a loss above 0; a mean over them hides how few they are, so log their number.
    """
    anchor, positive, negative = triplets
    each = (full(distance[anchor, positive]) - distance[anchor, negative] + margin).clamp_min(0)
    return each.sum() / max(len(anchor), 1)
