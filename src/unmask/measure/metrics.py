"""How well scores separate fake from real: pure functions on arrays. Label 1 = fake; a higher score = more fake.

A score at or above a threshold is called fake. Everything that reads the ROC goes through `Ranking`, which sorts once;
`measure.interval` gives the same ranking other weights a thousand times. NaN comes back where a number is not defined
(a class or all rows missing); a row that cannot be used is an `UnmaskError` that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Float64s, checked, probable

NAN = float("nan")


@dataclass(frozen=True)
class Curve:
    """The ROC in (weighted) counts: reals and fakes called fake at each distinct score, from none to all.

    `fp`, `tp`: (V + 1,), from 0 up to all reals and all fakes. `threshold`: (V + 1,), falling from infinity.
    """

    fp: Float64s
    tp: Float64s
    threshold: Float64s

    @property
    def both(self) -> bool:
        """True when there are reals and fakes."""
        return bool(self.fp[-1] > 0 and self.tp[-1] > 0)

    @property
    def fpr(self) -> Float64s:
        return np.asarray(self.fp / (self.fp[-1] or 1))

    @property
    def tpr(self) -> Float64s:
        return np.asarray(self.tp / (self.tp[-1] or 1))


class Ranking:
    """Scores sorted once. `curve(weight)` is then two running sums: what makes a bootstrap of large sets affordable."""

    def __init__(self, label: ArrayLike, score: ArrayLike) -> None:
        y, s = checked(label, score)
        self.order = np.argsort(-s, kind="stable")
        self.fake = y[self.order].astype(np.float64)
        ranked = s[self.order]
        last = np.append(ranked[1:] != ranked[:-1], True)[: len(s)]  # one vertex for each distinct score
        self.ends = None if last.all() else np.flatnonzero(last)
        self.threshold = np.concatenate([[np.inf], ranked[last]])

    def curve(self, ranked_weight: Float64s | None = None) -> Curve:
        """The ROC where row `order[i]` counts `ranked_weight[i]` times (once by default)."""
        w = np.ones(len(self.fake)) if ranked_weight is None else ranked_weight
        fp, tp = (self._running(x) for x in (w * (1 - self.fake), w * self.fake))
        return Curve(fp, tp, self.threshold)

    def _running(self, counts: Float64s) -> Float64s:
        total = np.cumsum(counts)
        return np.concatenate([[0.0], total if self.ends is None else total[self.ends]])


# --- numbers of a curve ----------------------------------------------------------------------------------------------


def area(curve: Curve) -> float:
    """Area under the ROC by trapezoids, which is Mann-Whitney with ties counting half."""
    if not curve.both:
        return NAN
    return float(np.diff(curve.fp) @ (curve.tp[1:] + curve.tp[:-1]) / (2 * curve.fp[-1] * curve.tp[-1]))


def precision_sum(curve: Curve) -> float:
    """Sum over distinct scores of (rise in recall) x precision: no interpolation."""
    if not curve.both:
        return NAN
    called = np.maximum(curve.tp[1:] + curve.fp[1:], np.finfo(float).tiny)
    return float(np.diff(curve.tp) @ (curve.tp[1:] / called) / curve.tp[-1])


def crossing(curve: Curve) -> float:
    """Where FPR meets FNR, linear between vertices."""
    if not curve.both:
        return NAN
    fpr, fnr = curve.fpr, 1 - curve.tpr
    i = int(np.argmax(fpr >= fnr))
    d0, d1 = fnr[i - 1] - fpr[i - 1], fpr[i] - fnr[i]  # i > 0: the curve starts at FPR 0, FNR 1
    return float(fpr[i - 1] + (fpr[i] - fpr[i - 1]) * d0 / (d0 + d1))


def sensitivity(curve: Curve, fpr: float = 0.05) -> float:
    """The largest TPR of a vertex whose FPR is at most `fpr`."""
    return float(curve.tpr[_at_most(curve, fpr)]) if curve.both else NAN


def auroc(label: ArrayLike, score: ArrayLike) -> float:
    """Probability that a fake scores above a real one, ties counting half (Mann-Whitney); NaN without both classes."""
    return area(Ranking(label, score).curve())


def average_precision(label: ArrayLike, score: ArrayLike) -> float:
    """AP = sum (R_n - R_{n-1}) P_n over distinct scores; NaN without both classes. It moves with the share of fakes."""
    return precision_sum(Ranking(label, score).curve())


def eer(label: ArrayLike, score: ArrayLike) -> float:
    """Where the share of reals called fake meets that of fakes called real, linear between the ROC's vertices."""
    return crossing(Ranking(label, score).curve())


def eer_vertex(label: ArrayLike, score: ArrayLike) -> float:
    """DeepfakeBench's EER: FPR at the ROC vertex with the least |FNR - FPR|, corners only, no interpolation.

    Like the benchmark (scikit-learn's default) it looks at corners of the curve, not at vertices inside a straight
    run. With few items it is far from `eer`: name the rule with the number.
    """
    curve = Ranking(label, score).curve()
    if not curve.both:
        return NAN
    fp, tp = curve.fp[1:], curve.tp[1:]
    corner = np.ones(len(fp), bool)
    corner[1:-1] = (np.diff(fp, 2) != 0) | (np.diff(tp, 2) != 0)
    fpr, fnr = np.append(0.0, curve.fpr[1:][corner]), np.append(1.0, 1 - curve.tpr[1:][corner])
    return float(fpr[np.argmin(np.abs(fnr - fpr))])


def tpr_at_fpr(label: ArrayLike, score: ArrayLike, fpr: float = 0.05) -> float:
    """The largest TPR of a vertex whose FPR is at most `fpr`: a point that a threshold reaches, not interpolated.

    The threshold here comes from the same data. For a promise about new data: `threshold_at_fpr` on validation.
    """
    return sensitivity(Ranking(label, score).curve(), fpr)


def partial_auc(label: ArrayLike, score: ArrayLike, fpr: float = 0.1, standardised: bool = True) -> float:
    """Area under the ROC for FPR in 0..`fpr`: raw (0..fpr) or McClish's (1989) standardised, where 0.5 is chance.

    Standardised: (1 + (A - fpr^2 / 2) / (fpr - fpr^2 / 2)) / 2.
    """
    if not 0 < fpr <= 1:
        raise InputError(f"the largest FPR must be above 0 and at most 1, not {fpr:g}")
    curve = Ranking(label, score).curve()
    if not curve.both:
        return NAN
    x, y = curve.fpr, curve.tpr
    stop = int(np.searchsorted(x, fpr, "right"))
    end = y[-1] if stop == len(x) else np.interp(fpr, x[stop - 1 : stop + 1], y[stop - 1 : stop + 1])
    raw = float(np.trapezoid(np.append(y[:stop], end), np.append(x[:stop], fpr)))
    chance = fpr * fpr / 2
    return (1 + (raw - chance) / (fpr - chance)) / 2 if standardised else raw


def roc(label: ArrayLike, score: ArrayLike) -> tuple[Float64s, Float64s]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    curve = Ranking(label, score).curve()
    return curve.fpr, curve.tpr


# --- thresholds: chosen on validation data, then used on other data ---------------------------------------------------


def threshold_at_fpr(label: ArrayLike, score: ArrayLike, fpr: float = 0.05) -> float:
    """The lowest threshold that calls at most `fpr` of these reals fake; infinity where only "none" does."""
    curve = _both(Ranking(label, score).curve())
    return float(curve.threshold[_at_most(curve, fpr)])


def threshold_at_eer(label: ArrayLike, score: ArrayLike) -> float:
    """The threshold whose FPR and FNR on these data are nearest."""
    curve = _both(Ranking(label, score).curve())
    return float(curve.threshold[np.argmin(np.abs(1 - curve.tpr - curve.fpr))])


def threshold_at_bacc(label: ArrayLike, score: ArrayLike) -> float:
    """The threshold of best balanced accuracy on these data; of equal ones the highest."""
    curve = _both(Ranking(label, score).curve())
    return float(curve.threshold[np.argmax(curve.tpr - curve.fpr)])


def _at_most(curve: Curve, fpr: float) -> int:
    return int(np.searchsorted(curve.fpr, fpr, "right")) - 1


def _both(curve: Curve) -> Curve:
    if not curve.both:
        raise InputError("a threshold needs real and fake validation rows: one of the two classes is missing")
    return curve


# --- numbers at a threshold -------------------------------------------------------------------------------------------


def accuracy(label: ArrayLike, score: ArrayLike, threshold: float) -> float:
    """Share of rows on their side of a threshold fixed elsewhere; NaN without rows. It rewards the larger class."""
    y, s = checked(label, score)
    return float(np.mean((s >= threshold) == y)) if len(y) else NAN


def balanced_accuracy(label: ArrayLike, score: ArrayLike, threshold: float) -> float:
    """(TPR + TNR) / 2 at a threshold fixed elsewhere; NaN without both classes."""
    y, s = checked(label, score)
    called = s >= threshold
    return float((called[y].mean() + (~called[~y]).mean()) / 2) if y.any() and not y.all() else NAN


def f1(label: ArrayLike, score: ArrayLike, threshold: float) -> float:
    """2 TP / (2 TP + FP + FN) for the class fake; NaN where no row is fake nor called so. It moves with prevalence."""
    y, s = checked(label, score)
    called = s >= threshold
    total = int(y.sum()) + int(called.sum())
    return 2 * int((y & called).sum()) / total if total else NAN


def share(label: ArrayLike, score: ArrayLike) -> float:
    """Mean of `score`, for rates of one class; `label` is only there to make it a metric like the others."""
    _, s = checked(label, score)
    return float(np.mean(s)) if len(s) else NAN


# --- probabilities ----------------------------------------------------------------------------------------------------


def log_loss(label: ArrayLike, probability: ArrayLike, floor: float = 1e-15) -> float:
    """Mean of -ln P(the true class), in nats, with P kept in floor..1 - floor: one sure mistake costs 34.5."""
    y, p = probable(label, probability)
    p = np.clip(p, floor, 1 - floor)
    return float(-np.mean(np.where(y, np.log(p), np.log1p(-p)))) if len(y) else NAN


def cllr(label: ArrayLike, probability: ArrayLike, floor: float = 1e-15) -> float:
    """Cost of the log likelihood ratio, in bits; 1 for saying nothing (LR = 1), NaN without both classes.

    Cllr = (mean over fakes of log2(1 + 1 / LR) + mean over reals of log2(1 + LR)) / 2, with LR = P / (1 - P) as
    `probability` is that at equal priors. Brümmer and du Preez 2006.
    """
    y, p = probable(label, probability)
    if y.all() or not y.any():
        return NAN
    p = np.clip(p, floor, 1 - floor)
    return float(-(np.log(p[y]).mean() + np.log1p(-p[~y]).mean()) / (2 * np.log(2)))


def brier(label: ArrayLike, probability: ArrayLike) -> float:
    """Mean of (P(fake) - label)^2 over rows, 0..1; 0.25 for a constant one half."""
    y, p = probable(label, probability)
    return float(np.mean((p - y) ** 2)) if len(y) else NAN


def ece(label: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean over items of |share of fakes - mean probability| in each bin of equal width.

    Biased upwards for few rows and dependent on `bins`; NaN without rows.
    """
    cells = reliability(label, probability, bins)
    return sum(n * abs(said - was) for said, was, n in cells) / sum(n for *_, n in cells) if cells else NAN


def reliability(label: ArrayLike, probability: ArrayLike, bins: int = 10) -> list[tuple[float, float, int]]:
    """For each bin of equal width that holds anything: mean probability, share of fakes, number of items."""
    y, p = probable(label, probability)
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    n, said, was = (np.bincount(which, w, bins) for w in (None, p, y.astype(np.float64)))
    return [(float(said[b] / n[b]), float(was[b] / n[b]), int(n[b])) for b in np.flatnonzero(n)]


tpr_at_1, tpr_at_10 = partial(tpr_at_fpr, fpr=0.01), partial(tpr_at_fpr, fpr=0.1)
# What a bootstrap may read off a re-weighted ranking instead of sorting every resample anew.
OF_CURVE: dict[Callable[..., float], Callable[[Curve], float]] = {
    auroc: area,
    average_precision: precision_sum,
    eer: crossing,
    tpr_at_fpr: sensitivity,
    tpr_at_1: partial(sensitivity, fpr=0.01),
    tpr_at_10: partial(sensitivity, fpr=0.1),
}
