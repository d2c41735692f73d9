"""Four ways from logits to probabilities, each a few fitted numbers: temperature, Platt, isotonic, beta.

A margin is logit(fake) - logit(real). Fit on validation rows, never on the rows that a table reports. Each row counts
once unless `weight` says otherwise; `balanced(label)` makes the answer one at equal priors, as the bundles' is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Bools, Float64s, checked, labels, numbers, same_length


def balanced(label: ArrayLike) -> Float64s:
    """Weights (N,) with which each class sums to one half."""
    y = labels(label)
    return np.where(y, 0.5 / max(1, int(y.sum())), 0.5 / max(1, int((~y).sum())))


@dataclass(frozen=True)
class Temperature:
    """p = sigmoid(margin / temperature): the order and the point of one half stay. Guo et al. 2017."""

    temperature: float

    @classmethod
    def fit(cls, margin: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Temperature:
        """By log loss. Raises: UnmaskError where the logits run against the labels (no temperature is right)."""
        y, x, w = _rows(margin, label, weight)
        slope = float(logistic(x[:, None], y.astype(np.float64), w)[0])
        if slope <= 0:
            raise InputError("higher logits go with real rows here: check which label is fake before calibrating")
        return cls(1 / slope)

    def __call__(self, margin: ArrayLike) -> Float64s:
        return sigmoid(numbers(margin, "margin") / self.temperature)


@dataclass(frozen=True)
class Platt:
    """p = sigmoid(slope margin + intercept). Platt 1999, with his smoothed targets."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, margin: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Platt:
        y, x, w = _rows(margin, label, weight)
        slope, intercept = logistic(np.stack([x, np.ones_like(x)], 1), smoothed(y), w)
        return cls(float(slope), float(intercept))

    def __call__(self, margin: ArrayLike) -> Float64s:
        return sigmoid(self.slope * numbers(margin, "margin") + self.intercept)


@dataclass(frozen=True)
class Beta:
    """logit p = a ln q - b ln(1 - q) + c with q = sigmoid(margin) and a, b >= 0. Kull, Silva Filho and Flach 2017."""

    a: float
    b: float
    c: float

    @classmethod
    def fit(cls, margin: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Beta:
        """By log loss; a coefficient that comes out negative is set to 0 and the others fitted again."""
        y, x, w = _rows(margin, label, weight)
        design = _beta(x)
        theta = logistic(design, y.astype(np.float64), w)
        free = np.array([theta[0] >= 0, theta[1] >= 0, True])
        fitted = np.zeros(3)
        fitted[free] = logistic(design[:, free], y.astype(np.float64), w)
        return cls(max(0.0, float(fitted[0])), max(0.0, float(fitted[1])), float(fitted[2]))

    def __call__(self, margin: ArrayLike) -> Float64s:
        return sigmoid(_beta(numbers(margin, "margin")) @ np.array([self.a, self.b, self.c]))


@dataclass(frozen=True)
class Isotonic:
    """The rising steps nearest to the labels (pool adjacent violators), linear between `knots`, flat outside.

    Needs many rows (hundreds), and gives exact 0 and 1, for which log loss is merciless. Zadrozny and Elkan 2002.
    """

    knots: tuple[float, ...]
    probability: tuple[float, ...]

    @classmethod
    def fit(cls, margin: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Isotonic:
        from sklearn.isotonic import IsotonicRegression

        y, x, w = _rows(margin, label, weight)
        model = IsotonicRegression(y_min=0, y_max=1).fit(x, y.astype(np.float64), w)
        return cls(tuple(map(float, model.X_thresholds_)), tuple(map(float, model.y_thresholds_)))

    def __call__(self, margin: ArrayLike) -> Float64s:
        return np.asarray(np.interp(numbers(margin, "margin"), self.knots, self.probability))


def smoothed(y: Bools) -> Float64s:
    """Platt's targets (N,), just inside 0 and 1: fits stay finite where the classes do not overlap."""
    n1, n0 = int(y.sum()), int((~y).sum())
    return np.where(y, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))


def sigmoid(z: Float64s) -> Float64s:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))  # 1 / (1 + exp(-z)) without overflow


def logistic(design: Float64s, target: Float64s, weight: Float64s, rounds: int = 100) -> Float64s:
    """Newton's method with halved steps on the weighted log loss; (N, K) -> (K,).

    A trace of ridge (1e-9 of the total weight) keeps it finite where the classes do not overlap.
    """
    weight = weight / weight.sum()
    theta = np.zeros(design.shape[1])

    def loss(t: Float64s) -> float:
        z = design @ t
        return float(weight @ (np.logaddexp(0, z) - target * z) + 0.5e-9 * t @ t)

    for _ in range(rounds):
        p = sigmoid(design @ theta)
        gradient = design.T @ (weight * (p - target)) + 1e-9 * theta
        hessian = design.T @ (design * (weight * p * (1 - p))[:, None]) + 1e-9 * np.eye(len(theta))
        step, now, size = np.linalg.solve(hessian, gradient), loss(theta), 1.0
        while loss(theta - size * step) > now and size > 1e-6:
            size /= 2
        theta = theta - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return theta


def _beta(x: Float64s) -> Float64s:
    return np.stack([-np.logaddexp(0, -x), np.logaddexp(0, x), np.ones_like(x)], 1)  # ln q, -ln(1 - q), 1


def _rows(margin: ArrayLike, label: ArrayLike, weight: ArrayLike | None) -> tuple[Bools, Float64s, Float64s]:
    y, x = checked(label, margin)
    if not np.isfinite(x).all():
        raise InputError(f"the logit in row {int(np.argmin(np.isfinite(x)))} is infinite: leave it out and count it")
    if y.all() or not y.any():
        raise InputError("calibration needs real and fake validation rows: one of the two classes is missing")
    w = np.ones(len(x)) if weight is None else numbers(weight, "weight")
    same_length(margin=x, weight=w)
    if (w < 0).any():
        raise InputError(f"the weight in row {int(np.argmax(w < 0))} is negative: weights are 0 or more")
    return y, x, w
