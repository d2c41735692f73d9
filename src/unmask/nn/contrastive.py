"""The one contrastive loss, of which SimCLR, MoCo, SupCon, SimLAP, PixContrast, Selfie, CLIP and cMIM are cases.

A method says which entries of a logit matrix are positives and which take part at all; nothing else differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import InputError
from unmask.nn.gather import gather, place
from unmask.nn.precision import full


def info_nce(
    logits: Tensor,
    positive: Tensor,
    valid: Tensor | None = None,
    *,
    positives: Literal["shared", "own", "set"] = "shared",
    negatives: Literal["sum", "mean"] = "sum",
    label_smoothing: float = 0.0,
    reduction: Literal["anchors", "pairs", "none"] = "anchors",
) -> Tensor:
    """Cross-entropy between an anchor's positives and everything else (van den Oord et al., arXiv 1807.03748).

    With P the positives of an anchor, N its other valid columns and n = log sum over N of exp(logit):

        shared  mean over p of  log(sum over P of exp + e^n) - logit_p      SimCLR, MoCo, CLIP, SupCon (L_out), Selfie
        own     mean over p of  log(exp(logit_p) + e^n) - logit_p           SimLAP, NT-Xent of pytorch-metric-learning
        set     log(sum over P of exp + e^n) - log(sum over P of exp)       PixContrast

    Anchors without a positive count for nothing; if none has one, the loss is 0 with a gradient of 0. With "own" and
    "set", anchors without a negative have a loss of exactly 0: two classes alone teach nothing there.

    Args:
        logits: (R, C), similarities already divided by the temperature. Half precision is raised to float32.
        positive: (R, C) bool, several a row allowed.
        valid: (R, C) bool, or a shape that broadcasts to it; a column that is not valid is in neither sum. None = all.
        negatives: "mean" takes log|N| from n, so that the loss does not grow with the batch (cMIM).
        label_smoothing: e of a row's target is spread evenly over its valid columns, as in `F.cross_entropy`.
        reduction: mean over "anchors" (rows with a positive), mean over "pairs" (anchor, positive), or "none".
    Returns: a scalar, or (R,) for "none", where anchors without a positive have 0.
    Raises: UnmaskError for shapes that do not fit, and for smoothing with other options than the first of each.
    """
    if logits.ndim != 2 or positive.shape != logits.shape:
        raise InputError(f"logits {tuple(logits.shape)} and positives {tuple(positive.shape)} must be the same (R, C)")
    if label_smoothing and (positives, negatives) != ("shared", "sum"):
        raise InputError('label smoothing is defined for positives="shared" and negatives="sum" alone')
    logits = full(logits)
    valid = torch.ones_like(positive) if valid is None else valid.expand_as(positive)
    positive = positive & valid
    if label_smoothing:
        each = _all_valid(logits, positive, valid, label_smoothing)
    elif (positives, negatives) == ("shared", "sum"):
        each = _all_valid(logits, positive, valid)
    else:
        each = _apart(logits, positive, valid & ~positive, positives, negatives == "mean")
    count = positive.sum(1)
    each = torch.where(count > 0, each, 0)
    if reduction == "none":
        return each
    weight = count if reduction == "pairs" else count > 0
    return (each * weight).sum() / weight.sum().clamp_min(1)


def _all_valid(logits: Tensor, positive: Tensor, valid: Tensor, smoothing: float = 0.0) -> Tensor:
    """Of each anchor: positives share one denominator, the sum over everything valid."""
    every = _total(logits, valid)
    each = every - _mean(logits, positive)
    return torch.lerp(each, every - _mean(logits, valid), smoothing) if smoothing else each


def _apart(logits: Tensor, positive: Tensor, negative: Tensor, positives: str, mean: bool) -> Tensor:
    """Of each anchor: negatives are summed, or averaged, before positives come to them."""
    n = _total(logits, negative)
    if mean:
        n = n - negative.sum(1).clamp_min(1).to(n.dtype).log()
    if positives == "own":
        return F.softplus(n[:, None] - logits).masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp_min(1)
    together = _total(logits, positive)
    return F.softplus(n - together) if positives == "set" else torch.logaddexp(together, n) - _mean(logits, positive)


def _total(logits: Tensor, mask: Tensor) -> Tensor:
    """log of the sum of exp over the mask, (R,). Not -inf for an empty row: its gradient would be NaN."""
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).logsumexp(1)


def _mean(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask, (R,); 0 for an empty row."""
    return logits.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp_min(1)


def nt_xent(one: Tensor, other: Tensor, temperature: float = 0.5) -> Tensor:
    """Each view finds the other view of its image among all views of the batch but itself (SimCLR, ICML 2020, eq. 1).

    Over processes, candidates are the views of all of them.

    Args:
        one, other: (N, D) embeddings of two views, of any lengths; row i of both is of one image.
    """
    rows = 2 * len(one)
    views = torch.cat([one, other])
    candidates = gather(views)
    me = torch.arange(rows, device=views.device) + place(rows)
    twin = me.roll(len(one))
    logits = cosines(views, candidates) / temperature
    return info_nce(logits, marks(twin, len(candidates)), ~marks(me, len(candidates)))


def queue_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """Each query finds its key among the keys of earlier batches (MoCo, CVPR 2020, eq. 1).

    Args:
        query, key: (N, D), of any lengths; the key has no gradient.
        queue: (K, D), the negatives.
    """
    key = F.normalize(full(key.detach()), dim=1)
    with torch.autocast(query.device.type, enabled=False):
        own = (F.normalize(full(query), dim=1) * key).sum(1, keepdim=True)
    logits = torch.cat([own, cosines(query, queue)], 1) / temperature
    return info_nce(logits, marks(torch.zeros_like(key[:, 0], dtype=torch.long), logits.shape[1]))


def supervised_contrastive(embedding: Tensor, label: Tensor, temperature: float = 0.1) -> Tensor:
    """All others of an anchor's label are its positives: L_out of SupCon (Khosla et al., NeurIPS 2020, eq. 2).

    Over processes, anchors and candidates are those of all of them, in each.

    Args:
        embedding: (N, D) of any lengths; several views or exits of an image are rows of their own.
        label: (N,); rows with a label below 0 are left out.
    """
    embedding, label = gather(embedding), gather(label)
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    valid = (label >= 0) & (label >= 0)[:, None] & ~itself
    return info_nce(cosines(embedding, embedding) / temperature, label[:, None] == label, valid)


def selfcon_loss(exits: Sequence[Tensor], label: Tensor, temperature: float = 0.07) -> Tensor:
    """SupCon over the exits of one network (SelfCon, Bae et al., AAAI 2023, arXiv 2106.15499).

    Positives of an anchor are all exits of all images of its label, but itself.

    Args:
        exits: of each exit the embeddings (B, D), of any lengths.
        label: (B,); rows below 0 are left out.
    """
    return supervised_contrastive(torch.cat(list(exits)), label.repeat(len(exits)), temperature)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of -sum over k of target_k log softmax(logits)_k.

    Args:
        logits: (B, K), already divided by the temperature.
        target: (B, K), each row a distribution.
    """
    logits = full(logits)
    return -(target * logits.log_softmax(1)).sum(1).mean()


def marks(index: Tensor, columns: int) -> Tensor:
    """(R,) -> (R, columns) bool, true at each row's index."""
    return index[:, None] == torch.arange(columns, device=index.device)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """cos of each row of a with each row of b, outside autocast: bfloat16 has no room for similarities near 1.

    Args:
        a: (N, D); b: (M, D), of any lengths.
    Returns: (N, M), float32 or float64.
    """
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(full(a), dim=1) @ F.normalize(full(b), dim=1).T


class Temperature(nn.Module):
    """A learnt temperature: similarities times exp(log_scale), the scale at most `max_scale` (CLIP, ICML 2021)."""

    def __init__(self, start: float = 0.07, max_scale: float = 100.0) -> None:
        """Raises: UnmaskError for a start that is not positive, or below 1 / max_scale."""
        super().__init__()
        if not 1 / max_scale <= start < math.inf:
            raise InputError(f"a temperature cannot start at {start}: choose {1 / max_scale:g} or more")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(start)))
        self.limit = math.log(max_scale)

    def forward(self, similarity: Tensor) -> Tensor:
        return similarity * self.log_scale.clamp(max=self.limit).exp()
