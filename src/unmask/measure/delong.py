"""DeLong's variance of the AUROC and the test of two AUROCs on the same rows.

DeLong, DeLong and Clarke-Pearson 1988, by mid-ranks (Sun and Xu 2014): n log n. Rows are taken as independent; where
faces share actors or videos it promises too much, and `interval.bootstrap` over groups is the one to print.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from unmask.measure.inputs import Bools, Float64s, checked
from unmask.measure.interval import NORMAL, Difference, Interval


def delong(label: ArrayLike, score: ArrayLike, level: float = 0.95) -> Interval:
    """AUROC and its normal interval, cut to 0..1; NaN bounds with fewer than two rows of a class."""
    y, s = checked(label, score)
    fake, real = components(y, s)
    value = float(fake.mean()) if len(fake) and len(real) else np.nan
    z = NORMAL.inv_cdf((1 + level) / 2) * np.sqrt(_variance(fake) + _variance(real))
    low, high = (value - z, value + z) if np.isnan(z) else (max(0.0, value - z), min(1.0, value + z))
    return Interval(value, float(low), float(high), level, "delong", 0, len(y))


def delong_test(label: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Difference:
    """AUROC(first) - AUROC(second) on the same rows, its normal interval and two-sided p; p is 1 for equal scores."""
    y, a = checked(label, first)
    _, b = checked(y, second)
    (fake_a, real_a), (fake_b, real_b) = components(y, a), components(y, b)
    fake, real = fake_a - fake_b, real_a - real_b
    value = float(fake.mean()) if len(fake) and len(real) else np.nan
    error = float(np.sqrt(_variance(fake) + _variance(real)))
    z = NORMAL.inv_cdf((1 + level) / 2) * error
    p = 2 * NORMAL.cdf(-abs(value) / error) if error > 0 else (np.nan if np.isnan(error) else float(value == 0))
    return Difference(value, value - z, value + z, p, level, "delong", 0, len(y))


def components(y: Bools, s: Float64s) -> tuple[Float64s, Float64s]:
    """For each fake, the share of reals below it; for each real, the share of fakes above it; ties count half."""
    fake, real = s[y], s[~y]
    n1, n0 = max(1, len(fake)), max(1, len(real))
    down, up = np.sort(real), np.sort(fake)
    below = (np.searchsorted(down, fake, "left") + np.searchsorted(down, fake, "right")) / (2 * n0)
    above = 1 - (np.searchsorted(up, real, "left") + np.searchsorted(up, real, "right")) / (2 * n1)
    return below, above


def _variance(x: Float64s) -> float:
    return float(x.var(ddof=1) / len(x)) if len(x) > 1 else np.nan
