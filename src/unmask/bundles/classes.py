"""From logits of a classifier to a set of classes that may be empty or hold several. Pure functions of a calibration.

The *strangeness* of an item for a class is 1 - P(class). A class is in the set where at least a share `error_rate` of
validation items of that class were as strange. So for a new item of a known class, exchangeable with the validation
items of that class, the set misses the class with probability at most `error_rate` (class-conditional split conformal:
Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005). Nothing is promised for other classes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BundleError
from unmask.types import ClassCalibration, Floats


def class_probabilities(calibration: ClassCalibration, logits: Floats) -> NDArray[np.float64]:
    """(N, K) -> (N, K), rows that sum to 1: softmax(logits / temperature)."""
    z = np.asarray(logits, np.float64) / calibration.temperature
    shifted = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), np.float64)


def class_p_values(calibration: ClassCalibration, logits: Floats) -> NDArray[np.float64]:
    """(N, K) -> (N, K): (1 + #{validation items of class k as strange or stranger}) / (n_k + 1)."""
    strange = 1 - class_probabilities(calibration, logits)
    found = np.empty_like(strange)
    for k, held in enumerate(calibration.strangeness):
        found[:, k] = [(1 + len(held) - bisect_left(held, s)) / (len(held) + 1) for s in strange[:, k].tolist()]
    return found


def class_sets(calibration: ClassCalibration, logits: Floats, error_rate: float) -> NDArray[np.bool_]:
    """(N, K), whether each class is in the set. A class with fewer than 1 / error_rate - 1 validation items always is.

    Args:
        error_rate: share of items of each known class whose set may miss it, 0..1.
    """
    return np.asarray(class_p_values(calibration, logits) > error_rate, np.bool_)


def check(calibration: ClassCalibration, classes: Sequence[str]) -> None:
    """Raises: UnmaskError for strangeness that is not one sorted row in 0..1 for each class."""
    rows = [np.asarray(row, np.float64) for row in calibration.strangeness]
    faults = {
        f"{len(rows)} rows for {len(classes)} classes": len(rows) != len(classes),
        "numbers outside 0..1": any(not ((row >= 0) & (row <= 1)).all() for row in rows),
        "rows that are not sorted": any(bool((np.diff(row) < 0).any()) for row in rows),
    }
    if found := [fault for fault, present in faults.items() if present]:
        raise BundleError(f"the calibration of its classes has {' and '.join(found)}")
