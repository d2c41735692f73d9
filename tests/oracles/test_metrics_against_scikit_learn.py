"""Every metric against an outside implementation, on random data with ties."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from unmask.measure import metrics as own
from unmask.measure.delong import delong
from unmask.measure.interval import bootstrap, clopper_pearson, wilson
from unmask.measure.pooling import Rule, pool
from unmask.types import UnmaskError

theirs = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")


def draws(n: int = 30) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(n):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(2, 300))
        label = np.r_[0, 1, rng.integers(0, 2, size)]
        yield label, (rng.normal(size=size + 2) + label).round(int(rng.integers(0, 4)))


def test_rankings_agree() -> None:
    for label, score in draws():
        assert own.auroc(label, score) == pytest.approx(theirs.roc_auc_score(label, score), abs=1e-12)
        assert own.average_precision(label, score) == pytest.approx(theirs.average_precision_score(label, score))
        fpr, tpr, _ = theirs.roc_curve(label, score)
        assert own.eer_vertex(label, score) == pytest.approx(fpr[np.argmin(np.abs(1 - tpr - fpr))])
        for most in (0.01, 0.05, 0.1, 0.6, 1.0):
            standard = theirs.roc_auc_score(label, score, max_fpr=most)
            assert own.partial_auc(label, score, most) == pytest.approx(standard)
            every_fpr, every_tpr, _ = theirs.roc_curve(label, score, drop_intermediate=False)
            assert own.tpr_at_fpr(label, score, most) == pytest.approx(every_tpr[every_fpr <= most].max())


def test_the_interpolated_eer_is_where_the_curve_meets_the_falling_diagonal() -> None:
    for label, score in draws():
        fpr, tpr, _ = theirs.roc_curve(label, score, drop_intermediate=False)
        e = own.eer(label, score)
        distance = np.interp(np.linspace(0, 1, 20001), np.arange(len(fpr)) / (len(fpr) - 1), fpr + tpr - 1)
        along = np.interp(np.linspace(0, 1, 20001), np.arange(len(fpr)) / (len(fpr) - 1), fpr)
        assert e == pytest.approx(along[np.argmin(np.abs(distance))], abs=0.02)


def test_numbers_at_a_threshold_agree() -> None:
    for label, score in draws():
        called = score >= 0.5
        assert own.accuracy(label, score, 0.5) == pytest.approx(theirs.accuracy_score(label, called))
        assert own.balanced_accuracy(label, score, 0.5) == pytest.approx(theirs.balanced_accuracy_score(label, called))
        assert own.f1(label, score, 0.5) == pytest.approx(theirs.f1_score(label, called))


def test_probabilities_agree() -> None:
    for label, score in draws():
        p = 1 / (1 + np.exp(-score))
        assert own.log_loss(label, p) == pytest.approx(theirs.log_loss(label, p))
        assert own.brier(label, p) == pytest.approx(theirs.brier_score_loss(label, p))


def test_a_million_rows() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 1_000_000)
    score = (rng.normal(size=1_000_000) + label).round(3)
    assert own.auroc(label, score) == pytest.approx(theirs.roc_auc_score(label, score), abs=1e-12)
    assert own.average_precision(label, score) == pytest.approx(theirs.average_precision_score(label, score))


def test_one_class_one_row_and_no_row_are_not_numbers() -> None:
    ranked = (own.auroc, own.average_precision, own.eer, own.eer_vertex, own.tpr_at_fpr, own.partial_auc)
    for label in ([1, 1, 1], [0, 0, 0], [1], [0], []):
        assert all(np.isnan(metric(label, [0.5] * len(label))) for metric in ranked)
        assert np.isnan(own.balanced_accuracy(label, [0.5] * len(label), 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.isnan(m([], [])) for m in (own.log_loss, own.brier, own.ece, own.share))
    with pytest.raises(UnmaskError, match="one of the two classes"):
        own.threshold_at_fpr([1, 1], [0.1, 0.2])


def test_rows_that_cannot_be_used_are_named() -> None:
    with pytest.raises(UnmaskError, match="score in row 2 is NaN"):
        own.auroc([0, 1, 1], [0.1, 0.2, np.nan])
    with pytest.raises(UnmaskError, match="label in row 1 is 4"):
        own.auroc([0, 4, 1], [0.1, 0.2, 0.3])
    with pytest.raises(UnmaskError, match="row 2 is missing"):
        own.auroc([0, 1, 1], [0.1, 0.2])
    with pytest.raises(UnmaskError, match="probability in row 0"):
        own.brier([0, 1], [-0.1, 1])


def test_rising_transforms_and_swapped_labels() -> None:
    for label, score in draws():
        value = own.auroc(label, score)
        for same in (np.exp(score), score**3, 5 * score - 2):
            assert own.auroc(label, same) == value
        assert own.auroc(1 - label, score) == pytest.approx(1 - value)
        assert own.auroc(1 - label, -score) == pytest.approx(value)
        assert own.eer(1 - label, -score) == pytest.approx(own.eer(label, score))


def test_thresholds_keep_what_they_promise_on_the_rows_they_saw() -> None:
    for label, score in draws():
        t = own.threshold_at_fpr(label, score, 0.1)
        assert (score[label == 0] >= t).mean() <= 0.1
        lower = np.unique(score[score < t])
        assert not len(lower) or (score[label == 0] >= lower[-1]).mean() > 0.1
        best = own.balanced_accuracy(label, score, own.threshold_at_bacc(label, score))
        assert best >= max(own.balanced_accuracy(label, score, x) for x in np.unique(score)) - 1e-12


@pytest.mark.parametrize("by", ["mean", "median", "max", "top"])
def test_pooling_agrees_with_a_loop_over_a_dictionary(by: Rule) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 400))
        method, video = rng.integers(0, 3, n), rng.choice(np.array(["000_003", "001_870", "x"]), n)
        label, score = method % 2, rng.normal(size=n).round(1)
        held: dict[tuple[int, str], list[float]] = {}
        for m, v, s in zip(method.tolist(), video.tolist(), score.tolist(), strict=True):
            held.setdefault((m, v), []).append(s)
        rules = {"mean": np.mean, "median": np.median, "max": np.max, "top": lambda s: np.mean(sorted(s)[-3:])}
        pooled = pool(label, score, (method, video), by, top=3)
        assert len(pooled.score) == len(held)
        for score_, label_, size, first in zip(pooled.score, pooled.label, pooled.size, pooled.first, strict=True):
            own_rows = held[(int(method[first]), str(video[first]))]
            assert score_ == pytest.approx(rules[by](own_rows))
            assert (label_, size) == (method[first] % 2, len(own_rows))


def test_pooling_by_a_name_that_two_methods_share_is_refused() -> None:
    with pytest.raises(UnmaskError, match="rows 0 and 1 share an id but not a label"):
        pool([0, 1], [0.1, 0.9], (["000_003", "000_003"],))


def test_rates_agree_with_scipy() -> None:
    for hits, n in ((0, 7), (3, 7), (7, 7), (41, 1000)):
        for own_, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
            low, high = stats.binomtest(hits, n).proportion_ci(0.95, method)
            found = own_(hits, n)
            assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_delong_and_the_bootstrap_agree_where_rows_are_independent() -> None:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 1500)
    score = (rng.normal(size=1500) + label).round(2)
    closed = delong(label, score)
    for kind in ("percentile", "bca"):
        drawn = bootstrap(own.auroc, label, score, np.arange(1500), rounds=600, kind=kind)
        assert (drawn.low, drawn.high) == (pytest.approx(closed.low, abs=5e-3), pytest.approx(closed.high, abs=5e-3))


def test_bca_agrees_with_scipy() -> None:
    x = np.random.default_rng(5).exponential(size=60)
    scipy_ = stats.bootstrap((x,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(1))
    found = bootstrap(own.share, np.zeros(60), x, np.arange(60), rounds=9999, kind="bca")
    assert found.low == pytest.approx(scipy_.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(scipy_.confidence_interval.high, abs=0.02)


def test_re_weighting_equals_repeating_rows() -> None:
    rng = np.random.default_rng(4)
    label, group = rng.integers(0, 2, 200), rng.integers(0, 30, 200)
    score = (rng.normal(size=200) + label).round(1)
    for metric in (own.auroc, own.average_precision, own.eer):
        fast = bootstrap(metric, label, score, group, rounds=50)
        slow = bootstrap(lambda y, s, m=metric: m(y, s), label, score, group, rounds=50)
        assert (fast.low, fast.high) == (pytest.approx(slow.low), pytest.approx(slow.high))
