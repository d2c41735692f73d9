"""How far a number could be off: bootstrap over groups, paired comparison, and exact intervals for rates.

Items of one actor or source video hang together, so whole groups are drawn. A resample is a weight for each row (how
often its group was drawn); metrics of the ROC read it off a ranking that was sorted once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Bools, Float64s, Longs, checked, codes, same_length
from unmask.measure.metrics import OF_CURVE, Ranking, auroc, share

Score = Callable[[ArrayLike, ArrayLike], float]  # a metric: (label, score) -> number
Part = tuple[Score, ArrayLike, ArrayLike, ArrayLike]  # metric, label, score, groups
Of = Callable[[Longs], float]  # a metric of some data, given how often each group counts
Kind = Literal["percentile", "bca", "delong", "wilson", "clopper-pearson", "student-t"]
NORMAL = NormalDist()
BLOCKS = 400  # of groups, for the acceleration of BCa: leaving out 300,000 groups one by one would tell no more


@dataclass(frozen=True)
class Interval:
    """A value, its bounds, what they rest on. `rounds`: resamples (0: closed form); `groups`: how many were drawn."""

    value: float
    low: float
    high: float
    level: float
    kind: Kind
    rounds: int
    groups: int


@dataclass(frozen=True)
class Difference:
    """First minus second on the same rows, its interval, and the two-sided p of no difference."""

    value: float
    low: float
    high: float
    p: float
    level: float
    kind: Kind
    rounds: int
    groups: int


def bootstrap(
    metric: Score,
    label: ArrayLike,
    score: ArrayLike,
    groups: ArrayLike,
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    kind: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Interval of `metric`, drawing whole groups with replacement: faces of one actor hang together.

    With several rows of scores, those of as many trainings, it is that of the mean of the metric over them: what other
    people would do to these detectors, not what other trainings would.

    Resamples where the metric is not defined (a class went missing) are drawn again; all NaN where it is not defined
    on the data themselves. Percentile (Efron 1979) or BCa (Efron 1987), whose acceleration comes from leaving out each
    of at most 400 blocks of groups. AUROC, AP, EER and shares are re-weighted; any other metric sees repeated rows.

    Args:
        score: (N,), or (K, N) of K trainings.
        groups: (N,) ids, one for each row: what is exchangeable, e.g. the actor or the source video.
    """
    of, count = _prepared(metric, label, score, groups)
    value = of(np.ones(count, np.int64)) if count else float("nan")
    if np.isnan(value):
        return Interval(value, value, value, level, kind, 0, count)
    values = np.sort([v for (v,) in _resampled((of,), count, rounds, seed)])
    tails = ((1 - level) / 2, (1 + level) / 2)
    if kind == "bca":
        tails = _corrected(tails, value, values, _acceleration(of, count))
    low, high = np.quantile(values, tails)
    return Interval(value, float(low), float(high), level, kind, rounds, count)


def paired(
    metric: Score,
    label: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Two sets of scores of the same rows, compared on the same resamples: the percentile interval of first - second.

    Each (N,), or (K, N) of K trainings whose mean counts, as in `bootstrap`.

    p = 2 min(#{d <= 0} + 1, #{d >= 0} + 1) / (rounds + 1), at most 1: never below 2 / (rounds + 1).
    """
    of_first, count = _prepared(metric, label, first, groups)
    of_second, _ = _prepared(metric, label, second, groups)
    all_once = np.ones(count, np.int64)
    value = of_first(all_once) - of_second(all_once) if count else float("nan")
    if np.isnan(value):
        return Difference(value, value, value, value, level, "percentile", 0, count)
    d = np.array([a - b for a, b in _resampled((of_first, of_second), count, rounds, seed)])
    low, high = np.quantile(d, [(1 - level) / 2, (1 + level) / 2])
    p = min(1.0, 2 * (min(int((d <= 0).sum()), int((d >= 0).sum())) + 1) / (rounds + 1))
    return Difference(value, float(low), float(high), p, level, "percentile", rounds, count)


def joint(parts: Sequence[Part], rounds: int = 1000, seed: int = 0) -> tuple[Float64s, Float64s]:
    """K metrics on the same resamples of groups: what an interval of their mean, sum or difference is made from.

    The parts need not hold the same rows, nor the same groups: a group counts in each part where it occurs.

    Returns: the values (K,), and those of the resamples (rounds, K); NaN where a metric is not defined.
    """
    ids = [np.asarray(groups).astype(str) for *_, groups in parts]
    among = np.unique(np.concatenate(ids)) if ids else np.zeros(0, str)
    of = []
    for (metric, label, score, _), own in zip(parts, ids, strict=True):
        y, s = checked(label, score)
        same_length(label=y, group=own)
        of.append(_of(metric, y, s, np.searchsorted(among, own).astype(np.int64), len(among)))
    rng = np.random.default_rng(seed)
    draws = [np.ones(len(among), np.int64)]
    draws += [np.bincount(rng.integers(len(among), size=len(among)), minlength=len(among)) for _ in range(rounds)]
    values = np.array(
        [[one(drawn) for one in of] for drawn in draws] if len(among) else np.full((rounds + 1, len(of)), np.nan)
    )
    return values[0], values[1:]


def wilson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's (1927) score interval of a rate; NaN for n = 0. Its coverage is right on average, not always."""
    _possible(hits, n)
    if not n:
        return Interval(np.nan, np.nan, np.nan, level, "wilson", 0, 0)
    z = NORMAL.inv_cdf((1 + level) / 2)
    p, shrink = hits / n, 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / shrink, z / shrink * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, float(middle - half)), min(1.0, float(middle + half)), level, "wilson", 0, n)


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Clopper and Pearson's (1934) exact interval of a rate, never too narrow; NaN for n = 0."""
    from scipy.stats import beta

    _possible(hits, n)
    if not n:
        return Interval(np.nan, np.nan, np.nan, level, "clopper-pearson", 0, 0)
    low = float(beta.ppf((1 - level) / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf((1 + level) / 2, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(hits / n, low, high, level, "clopper-pearson", 0, n)


def _possible(hits: int, n: int) -> None:
    if not 0 <= hits <= n:
        raise InputError(f"{hits} of {n} is no rate: hits must lie between 0 and the number of trials")


def _prepared(metric: Score, label: ArrayLike, score: ArrayLike, groups: ArrayLike) -> tuple[Of, int]:
    """The metric as a function of how often each group counts, and the number of groups."""
    code, count = codes(groups)
    each = []
    for one in np.atleast_2d(np.asarray(score)):
        y, s = checked(label, one)
        same_length(label=y, group=code)
        each.append(_of(metric, y, s, code, count))
    return each[0] if len(each) == 1 else lambda drawn: math.fsum(of(drawn) for of in each) / len(each), count


def _of(metric: Score, y: Bools, s: Float64s, code: Longs, count: int) -> Of:
    if metric is share:
        total, size = np.bincount(code, s, count), np.bincount(code, minlength=count)
        return lambda drawn: float(drawn @ total / n) if (n := int(drawn @ size)) else float("nan")
    if metric is auroc:
        return _mann_whitney(y, s, code)
    if of_curve := OF_CURVE.get(metric):
        ranking = Ranking(y, s)
        ranked = code[ranking.order]
        return lambda drawn: of_curve(ranking.curve(drawn.astype(np.float64)[ranked]))

    def repeated(drawn: Longs) -> float:
        rows = np.repeat(np.arange(len(y)), drawn[code])
        return metric(y[rows], s[rows])

    return repeated


def _mann_whitney(y: Bools, s: Float64s, code: Longs) -> Of:
    """AUROC by the reals below each fake, which whole numbers count: five times as fast as the curve."""
    real = np.flatnonzero(~y)[np.argsort(s[~y], kind="stable")]
    fake = np.flatnonzero(y)[np.argsort(s[y], kind="stable")]
    below, upto = (np.searchsorted(s[real], s[fake], side) for side in ("left", "right"))
    reals, fakes, tied = code[real], code[fake], bool((below != upto).any())

    def of(drawn: Longs) -> float:
        running = np.concatenate([[0], np.cumsum(drawn[reals])])
        weight = drawn[fakes]
        pairs = int(running[-1]) * int(weight.sum())
        twice = running[below] + running[upto] if tied else 2 * running[below]
        return int((weight * twice).sum()) / (2 * pairs) if pairs else float("nan")

    return of


def _resampled(metrics: tuple[Of, ...], count: int, rounds: int, seed: int) -> Iterator[tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    kept = 0
    for _ in range(100 * rounds):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        values = tuple(of(drawn) for of in metrics)
        if not any(np.isnan(values)):
            kept += 1
            yield values
        if kept == rounds:
            return
    raise InputError(f"only {kept} of {100 * rounds} resamples held both classes: there are too few groups of one")


def _acceleration(of: Of, count: int) -> float:
    blocks = np.array_split(np.random.default_rng(0).permutation(count), min(count, BLOCKS))
    left = []
    for block in blocks:
        drawn = np.ones(count, np.int64)
        drawn[block] = 0
        left.append(of(drawn) if drawn.any() else np.nan)
    held = np.array([v for v in left if not np.isnan(v)] or [0.0])
    pull = held.mean() - held
    spread = float((pull**2).sum())
    return float((pull**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def _corrected(tails: tuple[float, float], value: float, values: Float64s, a: float) -> tuple[float, float]:
    below = (float((values < value).sum()) + float((values <= value).sum())) / (2 * len(values))
    z0 = NORMAL.inv_cdf(min(max(below, 0.5 / len(values)), 1 - 0.5 / len(values)))

    def moved(tail: float) -> float:
        z = z0 + NORMAL.inv_cdf(tail)
        return NORMAL.cdf(z0 + z / (1 - a * z))

    return moved(tails[0]), moved(tails[1])
