"""The numbers of a table: each with its interval, and whether the best is better than the second best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.measure.interval import bootstrap, paired
from unmask.measure.metrics import (
    accuracy,
    auroc,
    average_precision,
    brier,
    cllr,
    ece,
    eer,
    eer_vertex,
    f1,
    log_loss,
    partial_auc,
    share,
    threshold_at_eer,
    threshold_at_fpr,
    tpr_at_1,
    tpr_at_10,
    tpr_at_fpr,
)
from unmask.measure.protocol import BY_PROBABILITY, BY_THRESHOLD, Interval, Metric, Threshold
from unmask.measure.units import Units, pair_order

Values = NDArray[np.float64]
Function = Callable[[ArrayLike, ArrayLike], float]
FEW_GROUPS = 10  # with fewer, drawing groups says too little to call a difference real
LOWER_IS_BETTER: frozenset[str] = frozenset({"eer", "eer_vertex", *BY_PROBABILITY, "hter", "false_alarms"})


@dataclass(frozen=True)
class Cell:
    """One number of a table. `value` is None where it cannot be measured, and `why` says so.

    Of a detector that was trained with several seeds it is their mean, `least` and `most` are the extremes, and the
    interval is that of the mean over other people, the trained weights held as they are.
    """

    detector: str
    column: str
    metric: Metric
    value: float | None
    low: float | None
    high: float | None
    real: int
    fake: int
    groups: int
    failed: int
    threshold: float | None = None
    best: bool = False  # better than the second best, and the interval of the difference leaves out zero
    why: str = ""
    seeds: int = 1
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Judged:
    """A detector's scores of one column: for each training its units, the same ones, and its threshold."""

    detector: str
    units: tuple[Units, ...]
    limits: tuple[float | None, ...] = (None,)

    @property
    def first(self) -> Units:
        return self.units[0]


def balanced(label: ArrayLike, called: ArrayLike) -> float:
    """Mean of the shares of fakes called fake and of reals called real; `called` is 0 or 1."""
    y, c = np.asarray(label, bool), np.asarray(called, np.float64)
    return float((c[y].mean() + (1 - c[~y]).mean()) / 2) if y.any() and not y.all() else float("nan")


def hter(label: ArrayLike, called: ArrayLike) -> float:
    """Half total error rate, (FAR + FRR) / 2, of what was called an attack, 0 or 1: 1 - balanced accuracy."""
    return 1 - balanced(label, called)


FUNCTIONS: dict[str, Function] = {
    "auroc": auroc,
    "eer": eer,
    "eer_vertex": eer_vertex,
    "average_precision": average_precision,
    "partial_auc": partial_auc,
    "tpr_at_fpr_1": tpr_at_1,
    "tpr_at_fpr_5": tpr_at_fpr,
    "tpr_at_fpr_10": tpr_at_10,
    "ece": ece,
    "brier": brier,
    "log_loss": log_loss,
    "cllr": cllr,
    "accuracy": partial(accuracy, threshold=0.5),  # of what was called fake, 0 or 1, at the protocol's threshold
    "balanced_accuracy": balanced,
    "f1": partial(f1, threshold=0.5),
    "hter": hter,
    "false_alarms": share,
    "pair_order": share,
}


def threshold(validation: Units, rule: Threshold) -> float | None:
    """The raw logit at or above which an item is called fake, from validation items; None without both classes."""
    if len(np.unique(validation.label)) < 2:
        return None
    if rule.rule == "eer":
        return threshold_at_eer(validation.label, validation.score)
    return threshold_at_fpr(validation.label, validation.score, rule.at)


def values(found: Units, metric: Metric, limit: float | None, original: dict[str, str]) -> tuple[Units, Values] | str:
    """The units that count and what the metric looks at, or why there is nothing to measure."""
    looked: Values = found.score
    if metric in BY_PROBABILITY:
        looked = found.probability
        if np.isnan(looked).any():
            return "no calibration"
    elif metric in BY_THRESHOLD:
        if limit is None:
            return "no validation rows of both classes"
        looked = (found.score >= limit).astype(np.float64)
    elif metric == "pair_order":
        looked = pair_order(found, original)
    keep = ~np.isnan(looked) & ((found.label == 0) | (metric != "false_alarms"))
    if not keep.any() or (metric not in ("false_alarms", "pair_order") and len(np.unique(found.label[keep])) < 2):
        return "not both classes"
    return found[keep], looked[keep]


def values_of_all(judged: Judged, metric: Metric, original: dict[str, str]) -> tuple[Units, Values] | str:
    """As `values`, of K trainings at once: looked at is (K, N)."""
    each = [values(u, metric, limit, original) for u, limit in zip(judged.units, judged.limits, strict=True)]
    for one in each:
        if isinstance(one, str):
            return one
    ready = [one for one in each if not isinstance(one, str)]
    kept = ready[0][0]
    if any(u.media.tolist() != kept.media.tolist() for u, _ in ready):
        raise ValueError(f"the trainings of {judged.detector} were not scored on the same units")
    return kept, np.stack([looked for _, looked in ready])


def cell(judged: Judged, column: str, metric: Metric, how: Interval, original: dict[str, str]) -> Cell:
    """One number and its interval."""
    found = judged.first
    about = Cell(
        judged.detector,
        column,
        metric,
        *(None, None, None),
        real=int((found.label == 0).sum()),
        fake=int((found.label == 1).sum()),
        groups=len(np.unique(found.group)),
        failed=found.failed,
        threshold=judged.limits[0] if len(judged.limits) == 1 else None,
        seeds=len(judged.units),
    )
    ready = values_of_all(judged, metric, original)
    if isinstance(ready, str):
        return replace(about, why=ready)
    kept, looked = ready
    got = bootstrap(FUNCTIONS[metric], kept.label, looked, kept.group, how.rounds, how.seed, how.level)
    least, most = _extremes(kept, looked, metric)
    return replace(about, value=got.value, low=got.low, high=got.high, least=least, most=most)


def better(one: Units, a: Values, b: Values, metric: Metric, how: Interval) -> bool:
    """Whether `a` beats `b` on the same units, in other people and in each training.

    The paired group bootstrap's interval of the difference leaves out 0, and the worst training of `a`, of (K, N), is
    better than the best one of `b`.
    """
    if len(np.unique(one.group)) < FEW_GROUPS:
        return False
    got = paired(FUNCTIONS[metric], one.label, a, b, one.group, how.rounds, how.seed, how.level)
    (least_a, most_a), (least_b, most_b) = (_extremes(one, v, metric) for v in (a, b))
    if metric in LOWER_IS_BETTER:
        return got.high < 0 and most_a < least_b
    return got.low > 0 and least_a > most_b


def _extremes(kept: Units, looked: Values, metric: Metric) -> tuple[float, float]:
    each = [FUNCTIONS[metric](kept.label, one) for one in looked]
    return min(each), max(each)


def best_of(cells: Sequence[Cell], judged: Sequence[Judged], how: Interval, original: dict[str, str]) -> int | None:
    """Index of the cell that is better than the second best; None where none is, or where units differ.

    Args:
        cells: one metric and column, a cell for each of `judged`.
    """
    ranked = sorted(
        (i for i, c in enumerate(cells) if c.value is not None and not math.isnan(c.value)),
        key=lambda i: (1 if cells[i].metric in LOWER_IS_BETTER else -1) * (cells[i].value or 0.0),
    )
    if len(ranked) < 2:
        return None
    metric = cells[ranked[0]].metric
    first, second = (values_of_all(judged[i], metric, original) for i in ranked[:2])
    if isinstance(first, str) or isinstance(second, str) or first[0].media.tolist() != second[0].media.tolist():
        return None
    return ranked[0] if better(first[0], first[1], second[1], metric, how) else None
