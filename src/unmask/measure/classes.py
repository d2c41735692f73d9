"""How well a classifier tells classes apart, with intervals over leakage groups; and what it says of unknown ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.measure import attribution
from unmask.measure.class_units import ClassUnits, codes_of, softmax
from unmask.measure.inputs import codes
from unmask.measure.interval import Interval
from unmask.measure.protocol import Interval as How
from unmask.measure.spoofing import development_threshold, spoofing

Rows = NDArray[np.int64]
Of = Callable[[Rows], float]  # a metric of some rows, repeated as often as their group was drawn
DEFAULT = How()
NEW = "new-"  # how the names of slots for new classes begin, see `tasks.recipe`


@dataclass(frozen=True)
class Number:
    """One number and its interval. `note`: what a reader must know to believe it."""

    name: str
    found: Interval
    n: int
    note: str = ""


def intervals(metrics: Mapping[str, Of], group: ArrayLike, how: How = DEFAULT) -> dict[str, Interval]:
    """Percentile intervals, all metrics on the same resamples of whole groups; NaN where a metric is not defined.

    Resamples where one is not defined are left out of its interval.
    """
    code, count = codes(group)
    members = [np.flatnonzero(code == g) for g in range(count)]
    every = np.arange(len(code))
    rng = np.random.default_rng(how.seed)
    draws = [np.concatenate([members[g] for g in rng.integers(count, size=count)]) for _ in range(how.rounds)]
    found = {}
    tails = ((1 - how.level) / 2, (1 + how.level) / 2)
    for name, of in metrics.items():
        value = of(every) if len(every) else float("nan")
        values = np.array([of(rows) for rows in draws] if value == value else [])
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, tails) if len(values) else (float("nan"), float("nan"))
        found[name] = Interval(value, float(low), float(high), how.level, "percentile", how.rounds, count)
    return found


def numbers(units: ClassUnits, classes: Sequence[str], how: How = DEFAULT) -> tuple[Number, ...]:
    """Of all classes together: what is known is counted as it is called, clusters after the best matching.

    With rows of unknown classes also the open set: known told from unknown by confidence, and OSCR.
    """
    known, n = np.isin(units.truth, classes), len(units)
    said = np.asarray(classes)[units.logits.argmax(1)]
    truth, predicted = np.split(codes(np.concatenate([units.truth, said]))[0], [n])  # whole numbers: quick to compare
    confidence = softmax(units.logits).max(1)
    metrics: dict[str, Of] = {
        "accuracy": lambda r: attribution.accuracy_of_classes(truth[r][known[r]], predicted[r][known[r]]),
        "balanced accuracy": lambda r: _balanced(truth[r][known[r]], predicted[r][known[r]]),
        "Hungarian accuracy": lambda r: attribution.hungarian_accuracy(truth[r], predicted[r]),
        "NMI": lambda r: attribution.nmi(truth[r], predicted[r]),
        "ARI": lambda r: attribution.ari(truth[r], predicted[r]),
    }
    chance = f"rows matched by chance reach {chance_of_matching(truth, predicted):.3f}"
    notes = {
        "accuracy": "rows of known classes",
        "balanced accuracy": "mean recall of known classes",
        "Hungarian accuracy": f"matched on these rows: optimistic, {chance}",
        "NMI": "not corrected for chance",
        "ARI": "0 for random clusters",
    }
    if known.any() and not known.all():
        metrics["open-set AUROC"] = lambda r: attribution.open_set_auroc(known[r], confidence[r])
        metrics["OSCR"] = lambda r: attribution.oscr((truth == predicted)[r], confidence[r], known[r])
        notes["open-set AUROC"] = f"{int((~known).sum())} rows of unknown classes, by confidence"
        notes["OSCR"] = "at most the accuracy and the open-set AUROC"
    if any(name.startswith(NEW) for name in classes) and not known.all():
        fresh = {"Hungarian accuracy": attribution.hungarian_accuracy, "NMI": attribution.nmi, "ARI": attribution.ari}
        for name, of in fresh.items():
            metrics[f"new classes: {name}"] = lambda r, of=of: of(truth[r][~known[r]], predicted[r][~known[r]])  # type: ignore[misc]
    found = intervals(metrics, units.group, how)
    rows = {n: int(known.sum()) for n in ("accuracy", "balanced accuracy")}
    rows |= {n: int((~known).sum()) for n in metrics if n.startswith("new classes")}
    return tuple(Number(n, found[n], rows.get(n, len(units)), notes.get(n, "")) for n in metrics)


def attack_numbers(units: ClassUnits, development: ClassUnits, how: How = DEFAULT) -> tuple[Number, ...]:
    """ISO/IEC 30107-3 at the threshold of the development rows' equal error rate; classes are ("real", "fake").

    Raises: UnmaskError where the development rows lack bona fide or attack rows.
    """
    score, label = _margin(units), units.truth == "fake"
    limit = development_threshold(development.truth == "fake", _margin(development))
    rate = {n: _spoofing(n, label, score, units.kind, limit) for n in ("bpcer", "acer", "hter")}
    types = sorted(set(units.kind[label].tolist()))
    missed: dict[str, Of] = {f"APCER {t or 'unnamed'}": _missed(label & (units.kind == t), score, limit) for t in types}
    metrics: dict[str, Of] = {"APCER (worst type)": _spoofing("worst", label, score, units.kind, limit)}
    metrics |= missed | {name.upper(): of for name, of in rate.items()}
    found = intervals(metrics, units.group, how)
    note = f"threshold {limit:.3g} from {len(development)} development rows"
    return tuple(Number(name, found[name], len(units), note) for name in metrics)


@dataclass(frozen=True)
class OfClass:
    """What became of the rows of one class.

    `called`: (K,) how many were called each class. `covered`: share whose set holds the class; NaN where it is unknown.
    `empty`: share of empty sets. `size`: mean size of a set.
    """

    name: str
    known: bool
    n: int
    groups: int
    recall: Interval
    called: tuple[int, ...]
    covered: float
    empty: float
    size: float


def by_class(
    units: ClassUnits, classes: Sequence[str], sets: NDArray[np.bool_] | None = None, how: How = DEFAULT
) -> tuple[OfClass, ...]:
    """Rows of each class, known ones first. Args: sets: (N, K) of `unmask.bundles.classes`; None = there are none."""
    code, called = codes_of(units.truth, classes), units.logits.argmax(1)
    order = sorted(set(units.truth.tolist()), key=lambda name: (name not in classes, name))
    nan = float("nan")
    found = []
    for name in order:
        of = units.truth == name
        group, right = units.group[of], (called == code)[of].astype(float)
        recall = intervals({"recall": lambda r, right=right: float(right[r].mean())}, group, how)["recall"]  # type: ignore[misc]
        size = nan if sets is None else float(sets[of].sum(1).mean())
        empty = nan if sets is None else float((~sets[of].any(1)).mean())
        known = name in classes
        covered = float(sets[of, code[of]].mean()) if sets is not None and known else nan
        counts = tuple(np.bincount(called[of], minlength=len(classes)).tolist())
        found.append(OfClass(name, known, int(of.sum()), len(np.unique(group)), recall, counts, covered, empty, size))
    return tuple(found)


def chance_of_matching(truth: ArrayLike, predicted: ArrayLike, shuffles: int = 20, seed: int = 0) -> float:
    """Mean Hungarian accuracy of the same predictions dealt to the rows at random: the floor of the matching."""
    rng, said = np.random.default_rng(seed), np.asarray(predicted)
    each = [attribution.hungarian_accuracy(truth, rng.permutation(said)) for _ in range(shuffles)]
    return float(np.mean(each))


def _balanced(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    names = np.unique(truth)
    return float(np.mean([(predicted[truth == k] == k).mean() for k in names])) if len(names) else float("nan")


def _margin(units: ClassUnits) -> NDArray[np.float64]:
    return np.asarray(units.logits[:, -1] - units.logits[:, 0], np.float64)


def _spoofing(name: str, label: NDArray[np.bool_], score: NDArray[Any], kind: NDArray[Any], limit: float) -> Of:
    return lambda r: float(getattr(spoofing(label[r], score[r], kind[r], limit), name))


def _missed(of: NDArray[np.bool_], score: NDArray[Any], limit: float) -> Of:
    return lambda r: float((score[r][of[r]] < limit).mean()) if of[r].any() else float("nan")
