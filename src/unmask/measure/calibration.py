"""From raw margins to probabilities that mean what they say; everything here is fitted on validation data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.nouns import Calibration

Doubles = NDArray[np.float64]


def platt(label: ArrayLike, margin: ArrayLike, rounds: int = 50) -> tuple[float, float]:
    """Slope a and intercept b of P(fake) = 1 / (1 + exp(-(a x + b))), each class weighing one half.

    Newton's method on the log loss with Platt's smoothed targets (Platt 1999; Lin, Lin and Weng 2007), which keep `a`
    finite where the classes do not overlap. The equal weights make the answer one at equal priors, whatever the set's
    balance.
    """
    y, x = np.asarray(label, bool), np.asarray(margin, np.float64)
    n1, n0 = int(y.sum()), int((~y).sum())
    target = np.where(y, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    weight = np.where(y, 0.5 / n1, 0.5 / n0)
    design = np.stack([x, np.ones_like(x)], 1)
    theta = np.zeros(2)

    def loss(t: Doubles) -> float:
        z = design @ t
        return float(weight @ (np.logaddexp(0, z) - target * z))

    for _ in range(rounds):
        p = 1 / (1 + np.exp(-(design @ theta)))
        gradient = design.T @ (weight * (p - target))
        hessian = design.T @ (design * (weight * p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        step, now = np.linalg.solve(hessian, gradient), loss(theta)
        size = 1.0
        while loss(theta - size * step) > now and size > 1e-6:
            size /= 2
        theta = theta - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return float(theta[0]), float(theta[1])


def calibrate(
    label: ArrayLike, margin: ArrayLike, groups: Sequence[str], data: str, rounds: int = 500, seed: int = 0
) -> Calibration:
    """Platt scaling, its 90 % band from refits on leakage groups drawn with replacement, and the sorted margins.

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
    curves: list[Doubles] = []
    while len(curves) < rounds:
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < y[drawn].sum() < len(drawn):
            slope, intercept = platt(y[drawn], x[drawn])
            curves.append(1 / (1 + np.exp(-(slope * knots + intercept))))
    low, high = np.quantile(curves, [0.05, 0.95], axis=0)

    def numbers(values: Doubles) -> tuple[float, ...]:
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
