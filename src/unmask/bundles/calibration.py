"""From a raw logit to P(fake), its interval, and the evidence against each answer. Pure functions of a Calibration.

A *log-odds* is logit(fake) - logit(real), or for more classes the log odds of not being real.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from unmask.errors import BundleError
from unmask.types import Calibration, Floats, LikelihoodRatio

NINETY = 1.645  # standard errors to each side that hold 90 % of a normal distribution


def log_odds(logits: Floats, classes: Sequence[str]) -> Floats:
    """Logits (N, K) -> (N,): log odds of not being "real"; for two classes logit(fake) - logit(real).

    Raises: UnmaskError for a classifier that has no class "real": it does not tell real from fake.
    """
    if "real" not in classes:
        raise BundleError(
            f"its classes ({', '.join(list(classes)[:4])} ...) hold no 'real': it does not tell real from fake. "
            "`unmask eval attribution` measures what it does tell apart"
        )
    real = list(classes).index("real")
    others = np.delete(logits.astype(np.float64), real, axis=1)
    return np.asarray(np.logaddexp.reduce(others, axis=1) - logits[:, real], np.float32)


def probabilities(calibration: Calibration, margins: Floats) -> Floats:
    """Margins of any shape -> P(fake) in 0..1, at equal priors: Platt's 1 / (1 + exp(-(slope x + intercept)))."""
    z = calibration.slope * np.asarray(margins, np.float64) + calibration.intercept
    return np.asarray(0.5 * (1 + np.tanh(z / 2)), np.float32)  # the same function, without overflow


def probability(calibration: Calibration, margin: float) -> float:
    """P(fake) of one margin."""
    return float(probabilities(calibration, np.array([margin], np.float32))[0])


def interval(calibration: Calibration, margin: float, spread: float = 0.0) -> tuple[float, float]:
    """The 90 % interval (low, high) of P(fake) at a logit; P(fake) at the logit itself lies inside.

    Two doubts add up: what the calibration would have been on other data (its bootstrap band), and how far the mean of
    the frames may be from that of all frames. The band is read at both ends of margin +- 1.645 spread. Beyond the
    outermost knots, where nothing was observed, the band stays as wide as it is there.

    Args:
        spread: standard error of `margin` where it is a mean over frames; 0 for a single image.
    """
    ends = np.array([margin - NINETY * spread, margin, margin + NINETY * spread])
    low = np.interp(ends, calibration.knots, calibration.low)
    high = np.interp(ends, calibration.knots, calibration.high)
    p = probability(calibration, margin)
    return min(float(low.min()), p), max(float(high.max()), p)


def p_values(calibration: Calibration, margin: float) -> tuple[float, float]:
    """Class-conditional split-conformal p-values (p_real, p_fake) of "this is real" and of "this is forged".

    p_real = (1 + #{real >= x}) / (n_real + 1) and p_fake = (1 + #{fake <= x}) / (n_fake + 1). For a new real item that
    is exchangeable with the validation items, P(p_real <= a) <= a whatever the distribution; likewise for forged ones.
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005.
    """
    as_high = len(calibration.real) - bisect_left(calibration.real, margin)
    as_low = bisect_right(calibration.fake, margin)
    return (1 + as_high) / (len(calibration.real) + 1), (1 + as_low) / (len(calibration.fake) + 1)


def likelihood_ratio(calibration: Calibration, score: float, low: float, high: float) -> LikelihoodRatio:
    """The likelihood ratio of forged : real that a calibrated P(fake) at equal priors stands for, p / (1 - p).

    A set of n items of a class in which nothing like this was seen cannot show that it is rarer than 1 in n + 1 there,
    so larger ratios than that are cut (the idea of the empirical bounds of Vergeer et al., Science & Justice 2016).

    Args:
        score, low, high: P(fake) and its interval.
    """
    least, most = -math.log10(len(calibration.fake) + 1), math.log10(len(calibration.real) + 1)
    p = np.clip(np.array([score, low, high], np.float64), 1e-12, 1 - 1e-12)
    raw = np.log10(p) - np.log10(1 - p)
    value, below, above = (round(float(v), 3) for v in np.clip(raw, least, most))
    return LikelihoodRatio(log10=value, low=below, high=above, bounded=not least <= float(raw[0]) <= most)


def check(calibration: Calibration) -> None:
    """Raises: UnmaskError when the functions above would mislead: unsorted, ragged or non-finite numbers."""
    knots, low, high = (np.array(v, np.float64) for v in (calibration.knots, calibration.low, calibration.high))
    real, fake = (np.array(v, np.float64) for v in (calibration.real, calibration.fake))
    numbers = np.concatenate([knots, low, high, real, fake, [calibration.slope, calibration.intercept]])
    faults = {
        "numbers that are not finite": not np.isfinite(numbers).all(),
        "a slope that is not positive": not calibration.slope > 0,
        "knots, low and high of different or no length": not len(knots) == len(low) == len(high) > 0,
        "knots that do not rise": bool((np.diff(knots) <= 0).any()),
        "scores that are not sorted": bool((np.diff(real) < 0).any() or (np.diff(fake) < 0).any()),
        "a band outside 0..1": bool((np.concatenate([low, high]) < 0).any() or (np.concatenate([low, high]) > 1).any()),
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise BundleError(f"the calibration has {' and '.join(found)}")
