"""Orders of edits (Seq-DeepFake): 0 means "no edit here", and the tail of a short order is zeros.

Shao et al. 2022, "Detecting and Recovering Sequential DeepFake Manipulation". A method that predicts the order from
last to first is turned round before scoring: reversed labels give another number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Longs


def fixed_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of equal cells over all positions of (N, L); NaN without rows. Padding counts: "no edit" always scores."""
    a, b = _orders(truth, predicted)
    return float(np.mean(a == b)) if a.size else float("nan")


def adaptive_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Equal cells among each row's first n, n the longer of both orders, pooled over rows (micro); NaN without rows.

    A row where both are empty counts as one cell, right.
    """
    a, b = _orders(truth, predicted)
    if not a.size:
        return float("nan")
    n = np.maximum((a != 0).sum(1), (b != 0).sum(1))
    within = np.arange(a.shape[1]) < np.maximum(n, 1)[:, None]
    return float(((a == b) & within).sum() / within.sum())


def _orders(truth: ArrayLike, predicted: ArrayLike) -> tuple[Longs, Longs]:
    a, b = np.asarray(truth), np.asarray(predicted)
    if a.ndim != 2 or a.shape != b.shape:
        raise InputError(f"orders must be two tables (rows, positions) alike, not {a.shape} and {b.shape}: pad with 0")
    for name, x in (("true", a), ("predicted", b)):
        whole = np.isfinite(x.astype(np.float64)) & (x.astype(np.float64) % 1 == 0) & (x >= 0)
        if not whole.all():
            raise InputError(f"the {name} order in row {int(np.argmin(whole.all(1)))} is not of classes 0, 1, 2 ..")
    return a.astype(np.int64), b.astype(np.int64)
