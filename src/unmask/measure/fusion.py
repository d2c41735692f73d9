"""Several detectors' scores become one: logistic regression on their logits, fitted and tested on other people.

A fusion is only as good as the rows it is tested on are foreign to it. So whole leakage groups are dealt to folds, and
each fold is scored by weights that were fitted on the others (cross-fitting); on request the forgery method of a row is
left out of the fit as well, which holds out both sides: the people and the way in which they were forged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.calibrators import balanced, logistic, sigmoid, smoothed
from unmask.measure.inputs import Bools, Float64s, Longs, codes, labels, same_length


@dataclass(frozen=True)
class Fusion:
    """logit P(fake) = sum of weight_k x_k + intercept, at equal priors: the natural logarithm of a likelihood ratio."""

    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(cls, logits: ArrayLike, label: ArrayLike) -> Fusion:
        """By log loss with Platt's smoothed targets, each class weighing one half.

        Args:
            logits: (N, K), one column for each detector; higher = more fake.
            label: (N,), 1 = fake.
        Raises: UnmaskError for logits that are not finite, or where one of the classes is missing.
        """
        y, x = _checked(logits, label)
        if y.all() or not y.any():
            raise InputError("a fusion needs real and fake rows: one of the two classes is missing")
        design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        *weights, intercept = logistic(design, smoothed(y), balanced(y)).tolist()
        return cls(tuple(weights), intercept)

    def __call__(self, logits: ArrayLike) -> Float64s:
        """(N, K) -> fused logits (N,)."""
        return np.asarray(np.asarray(logits, np.float64) @ np.array(self.weights) + self.intercept)

    def probability(self, logits: ArrayLike) -> Float64s:
        """(N, K) -> P(fake) (N,), at equal priors."""
        return sigmoid(self(logits))


def deal(groups: ArrayLike, label: ArrayLike, folds: int, seed: int = 0) -> Longs:
    """Fold 0..folds - 1 of each row (N,). A group is never parted, and each fold has groups of both classes.

    Raises: UnmaskError where fewer groups than folds hold reals, or fakes.
    """
    y, (code, count) = labels(label), codes(groups)
    same_length(label=y, group=code)
    fake, real = np.bincount(code[y], minlength=count) > 0, np.bincount(code[~y], minlength=count) > 0
    for held, name in ((real, "real"), (fake, "forged")):
        if int(held.sum()) < folds:
            raise InputError(
                f"{int(held.sum())} leakage groups hold {name} rows, which does not reach for {folds} folds: give more "
                "data or fewer --folds"
            )
    rng = np.random.default_rng(seed)
    # In this order all groups with reals stand in a row, and so do all with forgeries: both reach every fold.
    kinds = (real & ~fake, real & fake, fake & ~real)
    order = np.concatenate([rng.permutation(np.flatnonzero(kind)) for kind in kinds])
    fold = np.zeros(count, np.int64)
    fold[order] = np.arange(count) % folds
    return fold[code]


def cross_fitted(logits: ArrayLike, label: ArrayLike, fold: Longs, method: NDArray[Any] | None = None) -> Float64s:
    """Fused logits (N,), each by weights that its fold did not fit.

    Args:
        logits: (N, K).
        fold: (N,) of `deal`.
        method: (N,), what made each forgery: a forgery is then scored by weights that have met neither its fold nor its
            method, and a real by the mean of the logits for each method left out.
    Raises: UnmaskError where the rows left to fit on lack a class, as with one forgery method left out of one.
    """
    y, x = _checked(logits, label)
    fused = np.zeros(len(x))
    for k in np.unique(fold):
        inside = fold == k
        if method is None:
            fused[inside] = Fusion.fit(x[~inside], y[~inside])(x[inside])
            continue
        left_out = np.unique(method[y])
        if len(left_out) < 2:
            raise InputError("all forgeries are of one method: none can be left out; give more, or fit without that")
        models = {m: Fusion.fit(x[keep], y[keep]) for m in left_out for keep in [~inside & ~(y & (method == m))]}
        fused[inside & ~y] = np.mean([model(x[inside & ~y]) for model in models.values()], axis=0)
        for m, model in models.items():
            rows = inside & y & (method == m)
            fused[rows] = model(x[rows])
    return fused


def _checked(logits: ArrayLike, label: ArrayLike) -> tuple[Bools, Float64s]:
    y, x = labels(label), np.asarray(logits, np.float64)
    if x.ndim != 2:
        raise InputError(f"a fusion takes one column for each detector, (N, K), not an array of shape {x.shape}")
    same_length(label=y, logits=x)
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise InputError(f"the logit in row {row}, column {column}, is not finite: leave such rows out and count them")
    return y, x
