"""From raw logits to probabilities that mean what they say; everything here is fitted on validation data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.measure.calibrators import Platt, balanced
from unmask.types import Calibration

Float64s = NDArray[np.float64]


def platt(label: ArrayLike, margin: ArrayLike) -> tuple[float, float]:
    """Slope a and intercept b of P(fake) = 1 / (1 + exp(-(a x + b))), each class weighing one half.

    The equal weights make the answer one at equal priors, whatever the set's balance; Platt's smoothed targets keep `a`
    finite where the classes do not overlap.
    """
    fitted = Platt.fit(margin, label, balanced(label))
    return fitted.slope, fitted.intercept


def calibrate(
    label: ArrayLike, margin: ArrayLike, groups: Sequence[str], data: str, rounds: int = 500, seed: int = 0
) -> Calibration:
    """Platt scaling, its 90 % band from refits on leakage groups drawn with replacement, and the sorted logits.

    Args:
        label: (N,), 1 = fake.
        margin: (N,) raw logit(fake) - logit(real).
        groups: (N,) leakage groups.
        data: what this is, in words, for the card.
    """
    y, x = np.asarray(label, np.int64), np.asarray(margin, np.float64)
    a, b = platt(y, x)
    knots = np.linspace(x.min() - 2, x.max() + 2, 41)
    members = [np.flatnonzero(np.asarray(groups) == g) for g in sorted(set(groups))]
    rng = np.random.default_rng(seed)
    curves: list[Float64s] = []
    while len(curves) < rounds:
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < y[drawn].sum() < len(drawn):
            slope, intercept = platt(y[drawn], x[drawn])
            curves.append(1 / (1 + np.exp(-(slope * knots + intercept))))
    low, high = np.quantile(curves, [0.05, 0.95], axis=0)

    def numbers(values: Float64s) -> tuple[float, ...]:
        return tuple(round(float(v), 4) for v in values)

    return Calibration(
        slope=round(a, 6),
        intercept=round(b, 6),
        knots=numbers(knots),
        low=numbers(low),
        high=numbers(high),
        real=numbers(np.sort(x[y == 0])),
        fake=numbers(np.sort(x[y == 1])),
        data=data,
    )
