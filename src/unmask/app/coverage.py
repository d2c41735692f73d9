"""Conformal sets fitted on validation rows and held against test rows of other people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bundles import load
from unmask.data.manifest import Manifest
from unmask.measure.conformal import Conformal
from unmask.measure.interval import Interval, bootstrap, clopper_pearson
from unmask.measure.metrics import share
from unmask.measure.units import Units, units
from unmask.nouns import UnmaskError
from unmask.train.scoring import by_bundle, score_rows

WITHIN = ("label", "dataset", "method")


@dataclass(frozen=True)
class Wanted:
    """`datasets`: only these, empty = all. `within`: columns whose every combination gets a promise of its own."""

    detector: str
    data: Path
    datasets: tuple[str, ...]
    within: tuple[str, ...]
    level: float


@dataclass(frozen=True)
class Row:
    """Some test media: share whose set holds the truth, as independent trials and drawn by leakage group.

    `both`, `neither`: shares of sets that hold both classes ("cannot tell") and none ("unlike either").
    """

    name: str
    n: int
    groups: int
    exact: Interval
    grouped: Interval
    both: float
    neither: float


@dataclass(frozen=True)
class Found:
    rows: tuple[Row, ...]
    fitted: int
    fitted_groups: int
    failed: int
    data: str
    name: str
    weights: str


def run(wanted: Wanted, progress: Callable[[int], None] = lambda n: None) -> Found:
    """Raises: UnmaskError without validation or test rows, or for a category that validation rows lack."""
    if unknown := sorted(set(wanted.within) - set(WITHIN)):
        raise UnmaskError(f"no promise can be made within {unknown[0]!r}; there is {', '.join(WITHIN)}")
    manifest, scorer = Manifest(wanted.data), load(wanted.detector)

    def judged(split: str) -> Units:
        def where(table: pa.Table) -> NDArray[np.bool_]:
            chosen = np.asarray([s == split for s in table["split"].to_pylist()])
            labelled = np.asarray([y is not None for y in table["label"].to_pylist()])
            asked = [not wanted.datasets or d in wanted.datasets for d in table["dataset"].to_pylist()]
            return np.asarray(chosen & labelled & np.asarray(asked), bool)

        found = units(score_rows(by_bundle(scorer), wanted.data, where=where, progress=progress))
        if not len(found):
            raise UnmaskError(f"{wanted.data} has no scored {split} rows of these data sets: see `unmask data show`")
        return found

    fit, test = judged("val"), judged("test")
    sets = Conformal.fit(fit.score, fit.label, _category(fit, wanted.within), wanted.level)(
        test.score, _category(test, wanted.within)
    )
    hit, size = sets[np.arange(len(test)), test.label], sets.sum(1)
    rows = []
    for name, part in _parts(test).items():
        n = int(part.sum())
        grouped = bootstrap(share, test.label[part], hit[part].astype(float), test.group[part])
        exact = clopper_pearson(int(hit[part].sum()), n)
        both, neither = float((size[part] == 2).mean()), float((size[part] == 0).mean())
        rows.append(Row(name, n, len(np.unique(test.group[part])), exact, grouped, both, neither))
    groups = len(np.unique(fit.group))
    digest = manifest.digest
    return Found(
        tuple(rows), len(fit), groups, fit.failed + test.failed, digest, scorer.card.name, scorer.weights_sha256
    )


def _category(found: Units, within: tuple[str, ...]) -> NDArray[Any] | None:
    if not within:
        return None
    columns = [np.asarray(getattr(found, name)).astype(str) for name in within]
    return np.array([" | ".join(values) for values in zip(*columns, strict=True)])


def _parts(found: Units) -> dict[str, NDArray[np.bool_]]:
    """All rows, each class, and each data set's classes."""
    real, parts = found.label == 0, {"all": np.ones(len(found), bool)}
    parts |= {"real": real, "fake": ~real}
    for dataset in np.unique(found.dataset):
        of = found.dataset == dataset
        parts |= {f"{dataset}, real": of & real, f"{dataset}, fake": of & ~real}
    return {name: part for name, part in parts.items() if part.any()}
