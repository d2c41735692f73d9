"""From frames to tracks to videos: one score for each full id, without a Python loop.

A video is named by all of (dataset, method, compression, video), never by its folder: FaceForensics++'s four methods
use the same names, and pooling by folder merges forgeries, or forgeries with real clips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.inputs import Bools, Float64s, Longs, checked, codes, same_length

Rule = Literal["mean", "median", "max", "top"]
Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Pooled:
    """One row for each id, in the order of first appearance in the frames' id codes.

    `score` (G,), `label` (G,) bool, `size` (G,) rows pooled, `first` (G,) index of the id's first row, with which any
    other column follows: `column[first]`.
    """

    score: Float64s
    label: Bools
    size: Longs
    first: Longs


def pool(label: ArrayLike, score: ArrayLike, ids: Sequence[ArrayLike], by: Rule = "mean", top: int = 5) -> Pooled:
    """Pool (N,) scores over rows that agree in every column of `ids`.

    Two steps make tracks, then videos: pool by (..., video, track), then pool the result by the columns without track,
    each taken at `first`.

    Args:
        ids: columns (N,): whole numbers (fastest), strings, or Arrow arrays, which are dictionary-encoded.
        by: mean, median, max, or the mean of the `top` highest (of all where there are fewer).

    Raises: UnmaskError for unusable rows, and for an id whose rows carry both labels.
    """
    if by == "top" and top < 1:
        raise InputError(f"the mean of the top {top} scores does not exist: ask for at least 1")
    y, s = checked(label, score)
    code, groups = combined(ids)
    same_length(label=y, id=code)
    kind = np.int32 if len(code) < 2**31 else np.int64  # half the memory to scatter into is twice as quick
    first = np.zeros(groups, kind)
    first[code[::-1]] = np.arange(len(code) - 1, -1, -1, dtype=kind)  # of repeated assignments the last one stays
    clash = y != y[first][code]
    if clash.any():
        i = int(np.argmax(clash))
        raise InputError(f"rows {first[code[i]]} and {i} share an id but not a label: pool by the full id")
    size = np.bincount(code, minlength=groups)
    return Pooled(_pooled(s, code, size, by, top), y[first], size, first.astype(np.int64))


def combined(ids: Sequence[ArrayLike]) -> tuple[Longs, int]:
    """Columns (N,) -> one dense code (N,) for each distinct row of them, and how many there are.

    Where the column of most values settles all others, as a video's own name settles its data set and method, it is
    the code: one pass finds that out, and spares a table of every combination that could be.
    """
    columns = [_column(c, f"id column {k}") for k, c in enumerate(ids)]
    if not columns:
        raise InputError("pooling needs at least one id column: (dataset, method, compression, video)")
    for more, _ in columns[1:]:
        same_length(first=columns[0][0], other=more)
    (widest, _), *others = sorted(columns, key=lambda c: -c[1])
    code, count = codes(widest)
    others = [c for c in others if c[1] > 1]
    if not others or _settled(rest := _together(others), code, count):
        return code, count
    rest, span = codes(rest)  # of all combinations those that occur
    return codes(code * span + rest)


def _together(columns: Sequence[tuple[Longs, int]]) -> Codes:
    """Columns as the digits of one number, in the smallest type that holds it."""
    whole = math.prod(n for _, n in columns)
    kind = np.int16 if whole < 2**15 else np.int32 if whole < 2**31 else np.int64
    (first, span), *others = columns
    digits: Codes = first.astype(kind)
    for more, n in others:
        if span * n >= 2**62:
            digits, span = codes(digits)
        digits, span = digits * kind(n), span * n
        np.add(digits, more, out=digits, casting="unsafe")
    return digits


def _settled(column: Codes, code: Longs, count: int) -> bool:
    """Whether a column (N,) has one value only for each code (N,)."""
    held = np.zeros(count, column.dtype)
    held[code] = column
    return bool(np.array_equal(held[code], column))


def _column(column: Any, name: str) -> tuple[Longs, int]:
    """Whole numbers from 0 for a column, and one more than the largest possible: gaps are closed once, at the end."""
    if not hasattr(column, "dictionary_encode"):
        ids = np.asarray(column)
        if ids.ndim == 1 and ids.dtype.kind in "iu" and len(ids) and int(ids.max()) < 2**31 and int(ids.min()) >= 0:
            return ids.astype(np.int64, copy=False), int(ids.max()) + 1
        return codes(ids, name)
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    encoded = whole if hasattr(whole, "indices") else whole.dictionary_encode()
    if encoded.null_count:
        raise InputError(f"{name} has {encoded.null_count} empty cells: give every row its full id")
    return codes(encoded.indices.to_numpy(zero_copy_only=False), name)


def _pooled(s: Float64s, code: Longs, size: Longs, by: Rule, top: int) -> Float64s:
    if not len(s):
        return np.zeros(0)
    if by == "mean":
        return np.asarray(np.bincount(code, s, len(size)) / size)
    if by == "max":
        highest = np.full(len(size), -np.inf)
        np.maximum.at(highest, code, s)
        return highest
    ranked, end = s[np.lexsort((s, code))], np.cumsum(size)
    if by == "median":
        low, high = end - size + (size - 1) // 2, end - size + size // 2
        return np.asarray((ranked[low] + ranked[high]) / 2)
    kept: NDArray[np.bool_] = np.arange(len(s)) >= np.repeat(end - top, size)
    many = np.minimum(size, top)
    return np.asarray(np.add.reduceat(ranked[kept], np.cumsum(many) - many) / many)
