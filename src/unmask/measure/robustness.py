"""From scores of corrupted files to curves: how far a detector falls with each kind of corruption and each level.

Every number of one detector and data set is read off the same resamples of leakage groups, so that means, areas and
falls have intervals that know how much the levels have in common.

Two ways to have a face: with the boxes of the clean file ("reuse": what corruption does to the detector), or found
anew in the corrupted one ("redetect": what it does to the whole way). A lost face has no score. `auroc` is that of the
items that have one; `end_to_end` counts each pair with a lost item as a coin toss: 1/2 + (AUROC - 1/2) x share of
reals kept x share of fakes kept, which is what P(fake) = 0.5 for each lost item means, without a scale that it would
need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unmask.measure.inputs import Float64s
from unmask.measure.interval import Part, joint
from unmask.measure.metrics import auroc, eer, share, tpr_at_fpr
from unmask.measure.protocol import Interval
from unmask.measure.units import Units, units

Boxes = Literal["reuse", "redetect"]
Name = Literal["auroc", "end_to_end", "eer", "tpr_at_fpr5", "false_alarms", "misses", "lost_real", "lost_fake"]
LOWER_IS_BETTER = frozenset({"eer", "false_alarms", "misses", "lost_real", "lost_fake"})
ALL = "all kinds"
CLEAN = "clean"


@dataclass(frozen=True)
class Number:
    """One number with its interval. All NaN where it is not defined.

    Attributes:
        kind: of corruption; "clean" for the files as they are, "all kinds" for the mean over kinds.
        level: "0" .. "5"; "mean" over levels from 1; "area" under the curve from 0 by trapezoids, over its width, so
            that 1 is a detector that never errs; "fall": clean minus mean (signed so that more is worse).
        real, fake, groups: items with a score, and leakage groups among them (of a mean: the clean ones).
    """

    detector: str
    dataset: str
    boxes: str
    kind: str
    level: str
    metric: str
    value: float
    low: float
    high: float
    real: int
    fake: int
    groups: int


@dataclass(frozen=True)
class Suite:
    """One detector on one data set: its numbers, which kind is worst, and where the curve does not fall.

    Attributes:
        worst: the kind with the lowest mean of `end_to_end` over its levels; empty without both classes.
        sure: in what share of the resamples that kind is the worst.
        rises: (kind, level) whose AUROC is above the level before, the interval of the difference without 0.
        idle: kinds that left every score as it was: they did nothing to these files.
    """

    numbers: tuple[Number, ...]
    worst: str
    sure: float
    rises: tuple[tuple[str, int], ...]
    idle: tuple[str, ...]


def suite(
    detector: str,
    dataset: str,
    boxes: Boxes,
    tables: Mapping[tuple[str, int], pa.Table],
    how: Interval,
    limit: float | None = None,
) -> Suite:
    """All numbers of a detector on a data set.

    Args:
        tables: (kind, level) -> labelled scores of `measure.scores`; the clean ones under ("clean", 0).
        limit: the logit at or above which an item is called fake, from clean validation items: for `false_alarms`
            and `misses`; None leaves them out.
    """
    keys = [(CLEAN, 0), *sorted(k for k in tables if k[1])]
    sides = [_Side(tables[k]) for k in keys]
    parts: list[Part] = [p for s in sides for p in s.parts(limit)]
    values, drawn = joint(parts, how.rounds, how.seed)
    each = len(parts) // len(sides)
    matrix = np.vstack([values, drawn]).reshape(len(drawn) + 1, len(sides), each).transpose(1, 2, 0)
    found = {k: _named(m, limit) for k, m in zip(keys, matrix, strict=True)}  # (kind, level) -> name -> (1 + rounds,)

    def number(kind: str, level: str, metric: str, samples: Float64s, side: _Side) -> Number:
        n = (side.real, side.fake, side.groups)
        return Number(detector, dataset, boxes, kind, level, metric, *_spread(samples, how.level), *n)

    numbers = [
        number(kind, str(level), metric, samples, side)
        for (kind, level), side in zip(keys, sides, strict=True)
        for metric, samples in found[kind, level].items()
    ]
    kinds = list(dict.fromkeys(kind for kind, level in keys if level))
    means: dict[str, Float64s] = {}
    for metric, clean in found[CLEAN, 0].items():
        sign = -1 if metric in LOWER_IS_BETTER else 1
        curves = {k: [clean, *(found[key][metric] for key in keys if key[0] == k and key[1])] for k in kinds}
        summed = {k: _summary(c) for k, c in curves.items()}
        if kinds:
            summed[ALL] = tuple(np.mean([s[i] for s in summed.values()], axis=0) for i in range(2))
        for kind, (mean, area) in summed.items():
            for level, samples in (("mean", mean), ("area", area), ("fall", sign * (clean - mean))):
                numbers.append(number(kind, level, metric, samples, sides[0]))
        if metric == "end_to_end":
            means = {k: summed[k][0] for k in kinds}
    worst, sure = _worst(means)
    return Suite(tuple(numbers), worst, sure, tuple(_rises(keys, found, how.level)), tuple(_idle(tables, kinds)))


@dataclass
class _Side:
    """The items of one table: those with a score, and all of them."""

    table: pa.Table
    found: Units = field(init=False)
    everyone: Units = field(init=False)
    kept: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.found = units(self.table)
        at = self.table.column_names.index("score")
        self.everyone = units(self.table.set_column(at, "score", pc.fill_null(self.table["score"], 0.0)))
        self.kept = np.isin(_ids(self.everyone), _ids(self.found)).astype(np.float64)
        self.real, self.fake = (int((self.found.label == y).sum()) for y in (0, 1))
        self.groups = len(np.unique(self.found.group))

    def parts(self, limit: float | None) -> list[Part]:
        """What `_named` makes its numbers from, in its order."""
        f, e = self.found, self.everyone
        parts: list[Part] = [(m, f.label, f.score, f.group) for m in (auroc, eer, tpr_at_fpr)]
        for y in (0, 1):
            of = e.label == y
            parts.append((share, e.label[of], 1 - self.kept[of], e.group[of]))
        if limit is not None:
            called = (f.score >= limit).astype(np.float64)
            for y, wrong in ((0, called), (1, 1 - called)):
                of = f.label == y
                parts.append((share, f.label[of], wrong[of], f.group[of]))
        return parts


def _ids(u: Units) -> NDArray[np.str_]:
    return np.array(["\0".join(r) for r in zip(u.dataset, u.method, u.compression, u.media, strict=True)], str)


def _named(m: Float64s, limit: float | None) -> dict[str, Float64s]:
    """(parts, 1 + rounds) -> metric -> (1 + rounds,); those of a class that is missing are left out."""
    kept = (1 - m[3]) * (1 - m[4])
    toss = np.where(kept > 0, 0.5 + (m[0] - 0.5) * kept, np.where(np.isnan(kept), np.nan, 0.5))
    named = {"auroc": m[0], "end_to_end": toss, "eer": m[1], "tpr_at_fpr5": m[2], "lost_real": m[3], "lost_fake": m[4]}
    if limit is not None:
        named |= {"false_alarms": m[5], "misses": m[6]}
    return named


def _spread(samples: Float64s, level: float) -> tuple[float, float, float]:
    """The value and its percentile interval; no interval where fewer than half of the resamples have a value."""
    rest = samples[1:][~np.isnan(samples[1:])]
    if np.isnan(samples[0]) or len(rest) < len(samples) / 2:
        return float(samples[0]), float("nan"), float("nan")
    low, high = np.quantile(rest, [(1 - level) / 2, (1 + level) / 2])
    return float(samples[0]), float(low), float(high)


def _summary(curve: Sequence[Float64s]) -> tuple[Float64s, Float64s]:
    """Mean over levels from 1, and the area from level 0 over its width."""
    steps = np.array(curve)
    return np.asarray(steps[1:].mean(0)), np.asarray((steps[1:] + steps[:-1]).sum(0) / (2 * (len(steps) - 1)))


def _worst(means: Mapping[str, Float64s]) -> tuple[str, float]:
    if not means or any(np.isnan(m[0]) for m in means.values()):
        return "", float("nan")
    kinds = list(means)
    lowest = np.argmin(np.nan_to_num(np.array([means[k] for k in kinds]), nan=1.0), axis=0)
    return kinds[lowest[0]], float((lowest[1:] == lowest[0]).mean())


def _rises(
    keys: Sequence[tuple[str, int]], found: Mapping[tuple[str, int], Mapping[str, Float64s]], level: float
) -> Iterable[tuple[str, int]]:
    for kind, step in keys:
        before = (kind, step - 1) if step > 1 else (CLEAN, 0)
        if step and before in found:
            _, low, _ = _spread(found[kind, step]["auroc"] - found[before]["auroc"], level)
            if low > 0:
                yield kind, step


def _idle(tables: Mapping[tuple[str, int], pa.Table], kinds: Sequence[str]) -> Iterable[str]:
    """Kinds whose every score is the clean one bitwise."""
    clean = _scores(tables[CLEAN, 0])
    for kind in kinds:
        damaged = [_scores(t) for (k, level), t in tables.items() if k == kind and level]
        if all(d == clean for d in damaged):
            yield kind


def _scores(table: pa.Table) -> dict[str, float | None]:
    return dict(zip(table["item_id"].to_pylist(), table["score"].to_pylist(), strict=True))
