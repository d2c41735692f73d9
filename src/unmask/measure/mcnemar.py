"""McNemar's test: of two detectors asked the same files, does one win more of those on which they differ?"""

from __future__ import annotations

from math import comb

from unmask.errors import InputError


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p-value of `won` against `lost`, Binomial(won + lost, 1/2): 1 where they do not differ.

    McNemar 1947; the exact form, because the pairs that differ are often few.

    Args:
        won: files that the new detector gets right and the old one wrong; lost: the other way round.
    """
    if won < 0 or lost < 0:
        raise InputError(f"McNemar counts files: {won} won and {lost} lost cannot be")
    n = won + lost
    tail = sum(comb(n, k) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / (1 << n))
