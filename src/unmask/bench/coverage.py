"""Conformal sets fitted on validation rows and held against test rows of other people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bench.scoring import by_bundle, score_rows
from unmask.bundles import load
from unmask.data.manifest import Manifest
from unmask.errors import InputError, ManifestError
from unmask.measure.conformal import Conformal
from unmask.measure.interval import Interval, bootstrap, clopper_pearson
from unmask.measure.metrics import share
from unmask.measure.units import Units, joined, units

WITHIN = ("label", "dataset", "method")
DRAWS = 500


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
    `dealt`: mean coverage when the leakage groups of validation and test rows are dealt to both sides at random.
    """

    name: str
    n: int
    groups: int
    exact: Interval
    grouped: Interval
    both: float
    neither: float
    dealt: float


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
        raise InputError(f"no promise can be made within {unknown[0]!r}; there is {', '.join(WITHIN)}")
    manifest, scorer = Manifest(wanted.data), load(wanted.detector)

    def judged(split: str) -> Units:
        def where(table: pa.Table) -> NDArray[np.bool_]:
            chosen = np.asarray([s == split for s in table["split"].to_pylist()])
            labelled = np.asarray([y is not None for y in table["label"].to_pylist()])
            options = [not wanted.datasets or d in wanted.datasets for d in table["dataset"].to_pylist()]
            return np.asarray(chosen & labelled & np.asarray(options), bool)

        found = units(score_rows(by_bundle(scorer), wanted.data, where=where, progress=progress))
        if not len(found):
            raise ManifestError(f"{wanted.data} has no scored {split} rows of these data sets: see `unmask data show`")
        return found

    fit, test = judged("val"), judged("test")
    sets = _sets(fit, test, wanted)
    hit, size = sets[np.arange(len(test)), test.label], sets.sum(1)
    dealt = _dealt(joined(fit, test), len(fit) / (len(fit) + len(test)), wanted)
    rows = []
    for name, part in _parts(test).items():
        n = int(part.sum())
        grouped = bootstrap(share, test.label[part], hit[part].astype(float), test.group[part])
        exact = clopper_pearson(int(hit[part].sum()), n)
        both, neither = float((size[part] == 2).mean()), float((size[part] == 0).mean())
        rows.append(Row(name, n, len(np.unique(test.group[part])), exact, grouped, both, neither, dealt[name]))
    groups, lost = len(np.unique(fit.group)), fit.failed + test.failed
    return Found(tuple(rows), len(fit), groups, lost, manifest.digest, scorer.card.name, scorer.weights_sha256)


def _sets(fit: Units, test: Units, wanted: Wanted) -> NDArray[np.bool_]:
    """(N, 2) of the test rows."""
    limits = Conformal.fit(fit.score, fit.label, _category(fit, wanted.within), wanted.level)
    return limits(test.score, _category(test, wanted.within))


def _dealt(units: Units, share_of_fit: float, wanted: Wanted) -> dict[str, float]:
    """Mean coverage over `DRAWS` random deals of whole groups: what the promise says, if the groups are alike.

    A deal that leaves no row for some category to be fitted on is left out.
    """
    rng = np.random.default_rng(0)
    names = np.unique(units.group)
    found: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        first = np.isin(units.group, names[rng.random(len(names)) < share_of_fit])
        fit, test = units[first], units[~first]
        held, options = _category(fit, wanted.within), _category(test, wanted.within)
        if not len(test) or not len(fit) or (held is not None and set(options.tolist()) - set(held.tolist())):  # type: ignore[union-attr]
            continue
        sets = _sets(fit, test, wanted)
        hit = sets[np.arange(len(test)), test.label]
        for name, part in _parts(test).items():
            found.setdefault(name, []).append(float(hit[part].mean()))
    return {name: float(np.mean(found.get(name, [np.nan]))) for name in _parts(units)}


def _category(found: Units, within: tuple[str, ...]) -> NDArray[Any] | None:
    if not within:
        return None
    columns = [np.asarray(getattr(found, name)).astype(str) for name in within]
    return np.array([" | ".join(values) for values in zip(*columns, strict=True)])


def _parts(found: Units) -> dict[str, NDArray[np.bool_]]:
    """All rows, each class, and, where there are several, each data set's classes."""
    real, parts = found.label == 0, {"all": np.ones(len(found), bool)}
    parts |= {"real": real, "fake": ~real}
    datasets = np.unique(found.dataset)
    for dataset in datasets if len(datasets) > 1 else ():
        of = found.dataset == dataset
        parts |= {f"{dataset}, real": of & real, f"{dataset}, fake": of & ~real}
    return {name: part for name, part in parts.items() if part.any()}
