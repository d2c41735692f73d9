"""Certified radius of a smoothed classifier: how far an image may be moved without its majority vote changing."""

from __future__ import annotations

import math

from unmask.errors import InputError
from unmask.measure.interval import NORMAL


def least_share(hits: int, n: int, alpha: float = 0.001) -> float:
    """The share that lies below the true one with probability 1 - alpha (Clopper-Pearson, one-sided).

    Raises: UnmaskError for more hits than trials.
    """
    from scipy.stats import beta

    if not 0 <= hits <= n or n == 0:
        raise InputError(f"{hits} of {n} votes are no votes")
    return float(beta.ppf(alpha, hits, n - hits + 1)) if hits else 0.0


def radius(hits: int, n: int, sigma: float, alpha: float = 0.001) -> float:
    """L2 radius, of images in 0..1, inside which the class with `hits` of `n` votes keeps the majority.

    sigma Phi^-1(p), p the least share of votes; 0 (no answer) where p is 1/2 or less. Correct with probability
    1 - alpha over the noise. Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing",
    ICML 2019, arXiv 1902.02918, theorem 1 and algorithm CERTIFY: the class is chosen on other votes than these.
    """
    p = least_share(hits, n, alpha)
    if p <= 0.5:
        return 0.0
    return sigma * NORMAL.inv_cdf(p) if p < 1 else math.inf
