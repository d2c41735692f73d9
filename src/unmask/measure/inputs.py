"""What every metric asks of its arrays before it counts anything: equal lengths, labels 0 or 1, no NaN."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError

Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Longs = NDArray[np.int64]


def labels(label: ArrayLike) -> Bools:
    """(N,) of 0 and 1 -> bool. Raises: UnmaskError naming the first row that holds anything else."""
    y = np.asarray(label)
    if y.ndim != 1:
        raise InputError(f"labels must be one row of numbers, not of shape {y.shape}: flatten them first")
    if y.dtype == bool:
        return np.asarray(y, bool)
    if y.dtype.kind not in "iu":
        y = np.asarray(y, np.float64)
    wrong = (y != 0) & (y != 1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(f"the label in row {i} is {y[i]:g}: labels are 0 (real) or 1 (fake), map other classes first")
    return np.asarray(y == 1)


def numbers(value: ArrayLike, name: str = "score") -> Float64s:
    """(N,) -> float64. Raises: UnmaskError naming the first NaN; infinities are ranks like any other."""
    x = np.asarray(value, np.float64)
    if x.ndim != 1:
        raise InputError(f"a {name} array must be one row of numbers, not of shape {x.shape}: flatten it first")
    missing = np.isnan(x)
    if missing.any():
        raise InputError(f"the {name} in row {int(np.argmax(missing))} is NaN: leave failed rows out and count them")
    return x


def same_length(**arrays: NDArray[np.generic]) -> None:
    """Raises: UnmaskError where the arrays differ in length, naming the first row that one of them lacks."""
    sizes = {name: len(a) for name, a in arrays.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{n} {name}" for name, n in sizes.items())
        raise InputError(f"arrays differ in length ({said}): row {min(sizes.values())} is missing from one of them")


def checked(label: ArrayLike, score: ArrayLike) -> tuple[Bools, Float64s]:
    """Labels as bool and scores as float64, both (N,), checked as above."""
    y, s = labels(label), numbers(score)
    same_length(label=y, score=s)
    return y, s


def probable(label: ArrayLike, probability: ArrayLike) -> tuple[Bools, Float64s]:
    """Like `checked`, for probabilities. Raises: UnmaskError for one outside 0..1."""
    y, p = labels(label), numbers(probability, "probability")
    same_length(label=y, probability=p)
    outside = (p < 0) | (p > 1)
    if outside.any():
        i = int(np.argmax(outside))
        raise InputError(f"the probability in row {i} is {p[i]:g}, outside 0..1: calibrate logits first")
    return y, p


def codes(groups: ArrayLike, name: str = "group") -> tuple[Longs, int]:
    """Any array of ids (N,) -> dense codes 0..G-1 and G. Raises: UnmaskError for an id that is NaN."""
    ids = np.asarray(groups)
    if ids.ndim != 1:
        raise InputError(f"a {name} array must hold one id a row, not shape {ids.shape}: combine the columns first")
    if ids.dtype.kind == "f":
        numbers(ids, name)
    if ids.dtype.kind in "iu" and len(ids) and int(ids.min()) >= 0 and int(ids.max()) < 4 * len(ids) + 1024:
        held = np.zeros(int(ids.max()) + 1, bool)  # small whole numbers need no sorting
        held[ids] = True
        if held.all():
            return ids.astype(np.int64, copy=False), len(held)
        rank = np.cumsum(held, dtype=np.int32 if len(ids) < 2**31 else np.int64)
        return np.subtract(rank[ids], 1, dtype=np.int64), int(rank[-1])
    found, inverse = np.unique(ids, return_inverse=True)
    return inverse.astype(np.int64).reshape(-1), len(found)
