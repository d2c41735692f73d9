"""Rows of a face manifest as columns, the threshold of their worst source, and what a detector does on each source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.manifest import FaceRow
from unmask.measure.interval import Interval, Score, bootstrap
from unmask.measure.metrics import auroc
from unmask.types import Calibration, Metric

QUANTILES = 400
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """The rows of a manifest that have a crop."""

    rows: tuple[FaceRow, ...]

    def column(self, name: str) -> NDArray[np.str_]:
        return np.array([str(getattr(row, name)) for row in self.rows])

    @property
    def label(self) -> NDArray[np.int64]:
        return self.column("label").astype(np.int64)


def worst_source(score: NDArray[np.float64], source: NDArray[np.str_], real: Mask) -> tuple[float, ...]:
    """At each quantile the highest score among the sources: a threshold then keeps its error rate on all of them."""
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    each = [np.quantile(score[real & (source == name)], at) for name in np.unique(source[real])]
    return tuple(round(float(v), 4) for v in np.max(each, axis=0))


def measured(
    found: Rows, score: NDArray[np.float64], calibration: Calibration, trained: Sequence[str]
) -> tuple[Metric, ...]:
    """Per source of the test split: AUROC where both classes are there, and what is called fake at an error of 10 %."""
    return tuple(_rows(found, score, float(np.quantile(calibration.real, 0.9)), trained))


def _rows(found: Rows, score: NDArray[np.float64], threshold: float, trained: Sequence[str]) -> Iterator[Metric]:
    source, method, group = (found.column(n) for n in ("dataset", "method", "group_id"))
    label, test = found.label, found.column("split") == "test"
    for name in np.unique(source[test]):
        here = test & (source == name)
        real, kinds = here & (label == 0), sorted(set(method[here & (label == 1)]))
        seen = "held-out groups" if name in trained else "unseen"
        parts = [(name, "real faces called fake", _above(threshold), real)] if real.any() else []
        for kind in kinds:
            fake = here & (label == 1) & (method == kind)
            parts.append((f"{name}, {kind}", "forged faces called fake", _above(threshold), fake))
            if real.any():
                parts.append((f"{name}, {kind}", "AUROC", auroc, real | fake))
        for data, what, metric, rows in parts:
            yield _metric(data, what, seen, bootstrap(metric, label[rows], score[rows], group[rows]), label[rows])


def _metric(data: str, name: str, seen: str, got: Interval, label: NDArray[np.int64]) -> Metric:
    value, low, high = (round(float(v), 3) for v in (got.value, got.low, got.high))
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    return Metric(
        data=data,
        split="test",
        level="image",
        name=name,
        value=value,
        low=low,
        high=high,
        real=real,
        fake=fake,
        seen=seen,
    )


def _above(threshold: float) -> Score:
    return lambda label, score: float((np.asarray(score) > threshold).mean())
