"""How well scores separate fake from real: pure functions on arrays. Label 1 = fake; a higher score = more fake."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(label: ArrayLike, score: ArrayLike) -> float:
    """Probability that a fake scores above a real one, ties counting half (Mann-Whitney); NaN without both classes."""
    y, s = np.asarray(label, bool), np.asarray(score, np.float64)
    n1, n0 = int(y.sum()), int((~y).sum())
    if not n0 or not n1:
        return float("nan")
    _, inverse, counts = np.unique(s, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of each group of ties, from 1
    return float((rank[y].sum() - n1 * (n1 + 1) / 2) / (n0 * n1))


def eer(label: ArrayLike, score: ArrayLike) -> float:
    """Where the share of reals called fake meets that of fakes called real, linear between the ROC's vertices."""
    y, s = np.asarray(label, bool), np.asarray(score, np.float64)
    if not y.any() or y.all():
        return float("nan")
    fpr, tpr = roc(y, s)
    fnr = 1 - tpr
    i = int(np.argmax(fpr >= fnr))
    if i == 0:
        return float(fpr[0])
    d0, d1 = fnr[i - 1] - fpr[i - 1], fpr[i] - fnr[i]
    return float(fpr[i - 1] + (fpr[i] - fpr[i - 1]) * d0 / (d0 + d1)) if d0 + d1 > 0 else float(fpr[i])


def ece(label: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean over items of |share of fakes - mean probability| in each bin of equal width."""
    cells = reliability(label, probability, bins)
    return sum(n * abs(said - was) for said, was, n in cells) / sum(n for *_, n in cells)


def share(label: ArrayLike, score: ArrayLike) -> float:
    """Mean of `score`, for rates of one class; `label` is only there to make it a metric like the others."""
    return float(np.mean(np.asarray(score, np.float64)))


def bootstrap(
    metric: Callable[[ArrayLike, ArrayLike], float],
    label: ArrayLike,
    score: ArrayLike,
    groups: Sequence[str],
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    classes: int = 2,
) -> tuple[float, float]:
    """Percentile interval of `metric`, drawing whole leakage groups with replacement: faces of one actor hang together.

    Draws with fewer than `classes` classes are drawn again; NaN twice where the data themselves have fewer.
    """
    y, s = np.asarray(label, np.int64), np.asarray(score, np.float64)
    if len(np.unique(y)) < classes:
        return float("nan"), float("nan")
    members = [np.flatnonzero(np.asarray(groups) == g) for g in sorted(set(groups))]
    rng = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < rounds:
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if len(np.unique(y[drawn])) >= classes:
            values.append(metric(y[drawn], s[drawn]))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def reliability(label: ArrayLike, probability: ArrayLike, bins: int = 10) -> list[tuple[float, float, int]]:
    """For each bin of equal width that holds anything: mean probability, share of fakes, number of items."""
    y, p = np.asarray(label, np.float64), np.asarray(probability, np.float64)
    which = np.minimum((p * bins).astype(int), bins - 1)
    held = [which == b for b in range(bins)]
    return [(float(p[h].mean()), float(y[h].mean()), int(h.sum())) for h in held if h.any()]


def roc(label: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    y, s = np.asarray(label, bool), np.asarray(score, np.float64)
    order = np.argsort(-s, kind="stable")
    last = np.append(np.diff(s[order]) != 0, True)  # one vertex for each distinct score
    fpr, tpr = (np.cumsum(x[order])[last] / max(1, int(x.sum())) for x in (~y, y))
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])
