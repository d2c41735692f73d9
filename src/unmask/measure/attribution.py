"""Which forgery method made it: clusters matched to names, and known forgery methods told from new ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.measure.inputs import Float64s, Longs, codes, labels, numbers, same_length
from unmask.measure.metrics import auroc

NAN = float("nan")


def accuracy_of_classes(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of rows whose predicted class is the true one, without matching ("Known ACC"); NaN without rows."""
    a, b = np.asarray(truth), np.asarray(predicted)
    same_length(truth=a, predicted=b)
    return float(np.mean(a == b)) if len(a) else NAN


def hungarian_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Accuracy after the one-to-one matching of clusters to classes that is best on these very rows (Kuhn 1955).

    Optimistic: random clusters score above 1/K. NaN without rows.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency(truth, predicted)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum()) if table.sum() else NAN


def nmi(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mutual information over the mean of both entropies; 1 when both have one cluster, NaN without rows.

    Not corrected for chance: it grows with the number of clusters.
    """
    table = contingency(truth, predicted)
    if not table.sum():
        return NAN
    p = table / table.sum()
    whole, rows, columns = _entropy(p.ravel()), _entropy(p.sum(1)), _entropy(p.sum(0))
    return max(0.0, 2 * (rows + columns - whole) / (rows + columns)) if rows + columns > 0 else 1.0


def ari(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of agreeing pairs, corrected for chance (Hubert and Arabie 1985): 0 for random clusters, can be below."""
    table = contingency(truth, predicted)
    n = float(table.sum())
    if not n:
        return NAN
    both, rows, columns = (_pairs(x) for x in (table.ravel(), table.sum(1), table.sum(0)))
    expected, most = rows * columns / max(_pairs(np.array([n])), 1.0), (rows + columns) / 2
    return float((both - expected) / (most - expected)) if most != expected else 1.0


@dataclass(frozen=True)
class OpenWorld:
    """Numbers of OW-DFA. `known`: accuracy on rows of known classes, as they are called. The others after matching.

    `novel`, `all` are Hungarian accuracies, matched on the rows that they count: optimistic, more so with more clusters
    than classes. Everything is matched anew for `all`, so that it is no mean of the other two.
    """

    known: float
    novel: float
    novel_nmi: float
    novel_ari: float
    all: float
    all_nmi: float
    all_ari: float


def open_world(truth: ArrayLike, predicted: ArrayLike, known: ArrayLike) -> OpenWorld:
    """
    Args:
        truth, predicted: (N,) names; predictions may be clusters without a name. known: (N,) bool.
    """
    a, b, k = np.asarray(truth), np.asarray(predicted), labels(known)
    same_length(truth=a, predicted=b, known=k)
    both = [(a[~k], b[~k]), (a, b)]
    of = [f(*rows) for rows in both for f in (hungarian_accuracy, nmi, ari)]
    return OpenWorld(accuracy_of_classes(a[k], b[k]), *of)


def open_set_auroc(known: ArrayLike, confidence: ArrayLike) -> float:
    """Probability that a row of a known method gets more confidence than one of an unknown method, ties half."""
    return auroc(known, confidence)


def oscr(correct: ArrayLike, confidence: ArrayLike, known: ArrayLike) -> float:
    """Area under correct classification rate over false positive rate (Dhamija et al. 2018), trapezoids at ties.

    CCR = known rows that are right and at least this confident / known rows; FPR = unknown rows at least this
    confident / unknown rows. Never above the open-set AUROC nor the accuracy on known rows. NaN without both kinds.

    Args:
        correct: (N,) 0/1, whether the predicted class is the true one; not read where `known` is 0.
    """
    right, told, c = labels(correct), labels(known), numbers(confidence, "confidence")
    same_length(correct=right, known=told, confidence=c)
    if not told.any() or told.all():
        return NAN
    unknown, hit = np.sort(c[~told]), c[told & right]
    below = np.searchsorted(unknown, hit, "left") + np.searchsorted(unknown, hit, "right")
    return float(below.sum() / (2 * len(unknown) * told.sum()))


def contingency(truth: ArrayLike, predicted: ArrayLike) -> Longs:
    """(classes, clusters): how many rows of each class fell into each cluster."""
    (a, k), (b, m) = codes(truth, "truth"), codes(predicted, "predicted")
    same_length(truth=a, predicted=b)
    return np.bincount(a * m + b, minlength=k * m).reshape(k, m).astype(np.int64)


def _entropy(p: Float64s) -> float:
    held = p[p > 0]
    return float(-(held * np.log(held)).sum())


def _pairs(counts: ArrayLike) -> float:
    n = np.asarray(counts, np.float64)
    return float((n * (n - 1) / 2).sum())
