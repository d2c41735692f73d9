"""Semantic similarity of sentences: rank correlation with what people said, also with surface cues taken out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Float64s, numbers, same_length


def spearman(gold: ArrayLike, said: ArrayLike) -> float:
    """Rank correlation, -1..1; equal values share the mean of their ranks. NaN where one side is constant.

    Args:
        gold, said: (N,); sub-sets of a benchmark are put one after the other first (SentEval's rule "all").
    """
    return partial_spearman(gold, said, ())


def partial_spearman(gold: ArrayLike, said: ArrayLike, control: Sequence[ArrayLike]) -> float:
    """The same of what is left of both ranks when the ranks of `control` are regressed out of them, linearly.

    A model that scores well only without controls (length, shared words) exploits these.

    Raises: UnmaskError for fewer than three pairs.
    """
    from scipy.stats import rankdata

    a, b = numbers(gold, "gold score"), numbers(said, "similarity")
    same_length(gold=a, said=b)
    if len(a) < 3:
        raise InputError(f"{len(a)} pairs are too few for a rank correlation: give three at least")
    held = [np.ones(len(a)), *(rankdata(numbers(c, "control")) for c in control)]
    design = np.stack(held, 1)
    x, y = (_left(rankdata(values), design) for values in (a, b))
    spread = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / spread if spread > 1e-9 * len(a) else float("nan")


def _left(values: Float64s, design: Float64s) -> Float64s:
    fitted, *_ = np.linalg.lstsq(design, values, rcond=None)
    found: Float64s = values - design @ fitted
    return found


def surface(one: Sequence[str], other: Sequence[str]) -> tuple[Float64s, Float64s]:
    """(N,) differences of length in words, and (N,) shares of words that two sentences have in common (Jaccard)."""
    first, second = ([set(t.lower().split()) for t in side] for side in (one, other))
    length = [abs(len(a.split()) - len(b.split())) for a, b in zip(one, other, strict=True)]
    overlap = [len(a & b) / max(1, len(a | b)) for a, b in zip(first, second, strict=True)]
    return np.array(length, np.float64), np.array(overlap, np.float64)
