"""Do errors differ between groups of people? Rates, gaps and what can be told from chance. Arrays in, numbers out.

Formulas and the quirks of the code they were published with: `docs/fairness.md`. All gaps are fractions, not times 100.
People of one leakage group (an actor, a source video) hang together: intervals draw whole groups, and the test of a gap
deals subgroup labels anew among whole groups. Sets without forgeries have false alarms and nothing else.

Hazirbas et al., arXiv 2104.02821 (Casual Conversations); Ju et al., WACV 2024; Lin et al., CVPR 2024 (F_FPR, F_OAE,
F_DP, F_MEO).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.inputs import Float64s, Longs, checked, codes, same_length
from unmask.measure.interval import joint
from unmask.measure.metrics import auroc

MIN_GROUPS = 30  # leakage groups of a class in a cell, below which it is "insufficient data" and no rate
UNKNOWN = ""
ALL = "all"
RATES = ("fpr", "tpr", "balanced_accuracy", "accuracy", "called_fake")
Values = NDArray[np.str_]


@dataclass(frozen=True)
class Rate:
    """One rate of one subgroup (or of "all") with its interval; NaN where its class is missing.

    `n`: items it is a share of; `groups`: leakage groups among them.
    """

    subgroup: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    groups: int


@dataclass(frozen=True)
class Gap:
    """One measure of inequality over the subgroups that were kept.

    Attributes:
        low, high: bootstrap interval. A gap is never negative and its interval leans upwards: whether there is one at
            all is for `p` to say.
        p: share of deals of the labels among leakage groups that give a gap as large; NaN where it is not tested.
        seen: the gap that only one such deal in twenty exceeds: a smaller one could not have been told from chance.
    """

    name: str
    value: float
    low: float
    high: float
    p: float = float("nan")
    seen: float = float("nan")


@dataclass(frozen=True)
class Audit:
    """One attribute. `worst`: the subgroup with the highest FPR, and with the lowest TPR where there are fakes."""

    by: str
    rates: tuple[Rate, ...]
    gaps: tuple[Gap, ...]
    worst: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...]
    real_only: bool
    useless: str  # why equal errors would mean nothing here; empty where they would

    def gap(self, name: str) -> Gap:
        return next(g for g in self.gaps if g.name == name)


def audit(
    by: str,
    subgroup: ArrayLike,
    label: ArrayLike,
    score: ArrayLike,
    called: ArrayLike,
    groups: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    least: int = MIN_GROUPS,
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Audit:
    """Rates by subgroup, gaps between them, and whether chance makes such gaps.

    Args:
        subgroup: (N,) names; "" = not known: such rows are left out and counted.
        score: (N,) raw logits, for AUROC. called: (N,) bool, called fake.
        groups: (N,) leakage groups. strata: (N,) within which labels are dealt anew (light, manipulation).
        least: leakage groups of each class that a subgroup needs.
    Raises: UnmaskError for unusable rows, or where fewer than two subgroups are left.
    """
    y, s = checked(label, score)
    names, call = np.asarray(subgroup).astype(str), np.asarray(called, bool)
    own, strata_ = (
        np.asarray(groups).astype(str),
        np.zeros(len(y), str) if strata is None else np.asarray(strata).astype(str),
    )
    same_length(label=y, subgroup=names, called=call, group=own, stratum=strata_)
    real_only = not y.any()
    kept, excluded = _kept(names, y, own, least, real_only)
    if len(kept) < 2:
        said = "; ".join(f"{n}: {why}" for n, why in excluded)
        raise InputError(f"{by}: fewer than two groups are large enough to compare ({said}); lower --min, or pool them")
    use = np.isin(names, kept)
    y, s, call = y[use], s[use], call[use]
    names, own, strata_ = names[use], own[use], strata_[use]
    which = np.searchsorted(kept, names)
    blocks = _blocks(y, call, own, which, strata_, len(kept))
    drawn = _resampled(blocks, len(kept), rounds, seed)  # (1 + rounds, K, 4)
    found = _rates(drawn)
    areas = _areas(y, s, own, which, len(kept), rounds, seed)
    rates = [
        Rate(name, metric, *_spread(found[metric][:, k], level), *_size(y, own, which, metric, k))
        for k, name in enumerate([*kept.tolist(), ALL])
        for metric in RATES
        if not (real_only and metric != "fpr")
    ]
    if not real_only:
        rates += [
            Rate(name, "auroc", *_spread(areas[:, k], level), *_size(y, own, which, "auroc", k))
            for k, name in enumerate([*kept.tolist(), ALL])
        ]
    gaps = _gaps(found, areas, real_only)
    tested = _dealt(blocks, len(kept), rounds, seed, real_only)
    return Audit(
        by,
        tuple(rates),
        tuple(
            Gap(name, *_spread(v, level), *(_chance(v[0], tested[name]) if name in tested else ()))
            for name, v in gaps.items()
        ),
        _worst(found, kept, real_only),
        tuple(excluded),
        real_only,
        _useless(found, areas, level, real_only),
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p of several tests: rejecting those up to alpha errs at all in at most alpha of cases."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate([(len(p) - i) * p[j] for i, j in enumerate(order)]) if len(p) else np.zeros(0)
    out = np.empty(len(p))
    out[order] = np.minimum(stepped, 1)
    return [float(v) for v in out]


# --- parts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Blocks:
    """Counts of each (leakage group, subgroup) that occurs: reals, reals called fake, fakes, fakes called fake."""

    counts: Float64s  # (B, 4)
    group: Longs  # (B,)
    subgroup: Longs  # (B,)
    stratum: Longs  # (B,)


def _kept(
    names: Values, y: NDArray[np.bool_], own: Values, least: int, real_only: bool
) -> tuple[Values, list[tuple[str, str]]]:
    kept, excluded = [], []
    for n in np.unique(names).tolist():
        at = names == n
        few = [(len(np.unique(own[at & (y == c)])), word) for c, word in ((False, "real"), (True, "fake"))]
        short = [f"{count} {word} groups of {least}" for count, word in few[: 1 if real_only else 2] if count < least]
        if n == UNKNOWN:
            excluded.append(("not known", f"{int(at.sum())} items"))
        elif short:
            excluded.append((n, "insufficient data: " + ", ".join(short)))
        else:
            kept.append(n)
    return np.array(kept, str), excluded


def _blocks(
    y: NDArray[np.bool_], call: NDArray[np.bool_], own: Values, which: Longs, strata: Values, k: int
) -> _Blocks:
    group, _ = codes(own)
    stratum, many = codes(strata)
    block, count = codes((group * k + which) * many + stratum)
    first = np.zeros(count, np.int64)
    first[block[::-1]] = np.arange(len(block) - 1, -1, -1)
    columns = [np.bincount(block, w.astype(np.float64), count) for w in (~y, ~y & call, y, y & call)]
    return _Blocks(np.stack(columns, 1), group[first], which[first], stratum[first])


def _resampled(b: _Blocks, k: int, rounds: int, seed: int) -> Float64s:
    """Counts (1 + rounds, K, 4), the first of the data themselves."""
    many = int(b.group.max()) + 1
    table = np.zeros((many, k, 4))
    np.add.at(table, (b.group, b.subgroup), b.counts)
    rng = np.random.default_rng(seed)
    draws = [np.ones(many), *(np.bincount(rng.integers(many, size=many), minlength=many) for _ in range(rounds))]
    return np.asarray(np.stack(draws) @ table.reshape(many, -1)).reshape(rounds + 1, k, 4)


def _rates(counts: Float64s) -> dict[str, Float64s]:
    """(R, K, 4) -> metric -> (R, K + 1), the last column over all kept subgroups together."""
    whole = np.concatenate([counts, counts.sum(1, keepdims=True)], 1)
    real, fp, fake, tp = (whole[..., i] for i in range(4))
    with np.errstate(invalid="ignore", divide="ignore"):
        fpr, tpr = fp / real, tp / fake
        accuracy, called = (real - fp + tp) / (real + fake), (fp + tp) / (real + fake)
    both = (1 - fpr + tpr) / 2
    return {"fpr": fpr, "tpr": tpr, "balanced_accuracy": both, "accuracy": accuracy, "called_fake": called}


def _areas(y: NDArray[np.bool_], s: Float64s, own: Values, which: Longs, k: int, rounds: int, seed: int) -> Float64s:
    """AUROC (1 + rounds, K + 1); NaN without fakes."""
    sets = [which == i for i in range(k)] + [np.ones(len(y), bool)]
    values, drawn = joint([(auroc, y[a], s[a], own[a]) for a in sets], rounds, seed)
    return np.vstack([values, drawn])


def _gaps(found: Mapping[str, Float64s], areas: Float64s, real_only: bool) -> dict[str, Float64s]:
    """Name -> (R,). The last column of each rate is the overall one."""

    def width(v: Float64s) -> Float64s:
        return np.asarray(v.max(1) - v.min(1))

    fpr, tpr = (found[n][:, :-1] for n in ("fpr", "tpr"))
    from_all = {n: np.abs(found[n][:, :-1] - found[n][:, -1:]).sum(1) for n in ("fpr", "tpr")}
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = fpr.max(1) / fpr.min(1)
    gaps = {"fpr_gap": width(fpr), "fpr_ratio": ratio, "F_FPR": from_all["fpr"]}
    if real_only:
        return gaps
    called = found["called_fake"][:, :-1]
    return gaps | {
        "tpr_gap": width(tpr),
        "F_OAE": width(found["accuracy"][:, :-1]),
        "F_DP": np.maximum(width(called), width(1 - called)),
        "F_MEO": np.max([width(v) for v in (fpr, 1 - tpr, 1 - fpr, tpr)], axis=0),
        "F_EO": from_all["fpr"] + from_all["tpr"],
        "balanced_accuracy_gap": width(found["balanced_accuracy"][:, :-1]),
        "auroc_gap": width(areas[:, :-1]),
    }


def _dealt(b: _Blocks, k: int, rounds: int, seed: int, real_only: bool) -> dict[str, Float64s]:
    """Gaps (rounds,) when subgroup labels are dealt anew among the blocks of each stratum."""
    rng = np.random.default_rng(seed + 1)
    members = [np.flatnonzero(b.stratum == v) for v in np.unique(b.stratum)]
    counts = np.zeros((rounds, k, 4))
    for r in range(rounds):
        dealt = b.subgroup.copy()
        for m in members:
            dealt[m] = rng.permutation(b.subgroup[m])
        for i in range(4):
            counts[r, :, i] = np.bincount(dealt, b.counts[:, i], k)
    found = _rates(counts)
    tested = ("fpr",) if real_only else ("fpr", "tpr", "balanced_accuracy")
    return {f"{n}_gap": found[n][:, :-1].max(1) - found[n][:, :-1].min(1) for n in tested}


def _chance(value: float, dealt: Float64s) -> tuple[float, float]:
    """p of a gap this large, and the gap that 95 % of deals stay at or below."""
    known = dealt[~np.isnan(dealt)]
    if not len(known) or np.isnan(value):
        return float("nan"), float("nan")
    p = (1 + int((known >= value - 1e-12).sum())) / (1 + len(known))
    return p, float(np.quantile(known, 0.95, method="higher"))


def _spread(v: Float64s, level: float) -> tuple[float, float, float]:
    """Value and percentile interval over the resamples where it is defined; none where half are not."""
    rest = v[1:][np.isfinite(v[1:])]
    if not np.isfinite(v[0]) or len(rest) < len(v) / 2:
        return float(v[0]), float("nan"), float("nan")
    low, high = np.quantile(rest, [(1 - level) / 2, (1 + level) / 2])
    return float(v[0]), float(low), float(high)


def _size(y: NDArray[np.bool_], own: Values, which: Longs, metric: str, k: int) -> tuple[int, int]:
    at = (which == k) if k <= which.max() else np.ones(len(y), bool)
    at = at & {"fpr": ~y, "tpr": y}.get(metric, np.ones(len(y), bool))
    return int(at.sum()), len(np.unique(own[at]))


def _worst(found: Mapping[str, Float64s], kept: Values, real_only: bool) -> tuple[tuple[str, str], ...]:
    worst = [("fpr", str(kept[np.argmax(found["fpr"][0, :-1])]))]
    return tuple(worst if real_only else [*worst, ("tpr", str(kept[np.argmin(found["tpr"][0, :-1])]))])


def _useless(found: Mapping[str, Float64s], areas: Float64s, level: float, real_only: bool) -> str:
    """A detector that says the same of everybody has no gaps: that is no merit."""
    called = float(found["fpr" if real_only else "called_fake"][0, -1])
    if called in (0.0, 1.0):
        return f"it calls {'everything' if called else 'nothing'} fake"
    low = float("nan") if real_only else _spread(areas[:, -1], level)[1]
    return "its AUROC cannot be told from chance" if low <= 0.5 else ""
