"""Calibrators against scikit-learn and scipy, and the promises of conformal sets on held-back data."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.calibrators import Beta, Isotonic, Platt, Temperature, balanced
from unmask.measure.conformal import Conformal, coverage
from unmask.measure.delong import delong_test
from unmask.measure.metrics import auroc, log_loss
from unmask.types import UnmaskError

optimize = pytest.importorskip("scipy.optimize")


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    return rng.normal(size=n) * 2 + 3 * label - 1, label


def test_temperature_has_the_least_log_loss() -> None:
    margin, label = drawn(3000)
    found = Temperature.fit(margin, label)
    best = optimize.minimize_scalar(lambda t: log_loss(label, 1 / (1 + np.exp(-margin / t))), bounds=(0.1, 10))
    assert found.temperature == pytest.approx(best.x, rel=1e-4)
    with pytest.raises(UnmaskError, match="which label is fake"):
        Temperature.fit(-margin, label)


def test_platt_is_a_logistic_regression() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    margin, label = drawn(3000)
    weight = np.random.default_rng(1).uniform(size=3000)
    model = linear.LogisticRegression(C=1e9).fit(margin[:, None], label, weight)
    found = Platt.fit(margin, label, weight)
    assert found.slope == pytest.approx(model.coef_[0, 0], abs=0.01)
    assert found.intercept == pytest.approx(model.intercept_[0], abs=0.01)


def test_beta_finds_the_least_log_loss_and_keeps_the_order() -> None:
    margin, label = drawn(3000)
    found = Beta.fit(margin, label)

    def loss(t: np.ndarray) -> float:
        return log_loss(label, Beta(abs(t[0]), abs(t[1]), t[2])(margin))

    best = optimize.minimize(loss, [1.0, 1.0, 0.0], method="Nelder-Mead", options={"maxiter": 2000, "fatol": 1e-10})
    assert log_loss(label, found(margin)) == pytest.approx(best.fun, abs=1e-6)
    assert (np.diff(found(np.sort(margin))) >= 0).all()
    assert Beta(1, 1, 0)([0.7]) == pytest.approx(1 / (1 + np.exp(-0.7)))


def test_isotonic_rises_and_is_right_on_average() -> None:
    margin, label = drawn(2000)
    p = Isotonic.fit(margin, label)(margin)
    assert (np.diff(p[np.argsort(margin)]) >= 0).all()
    assert p.mean() == pytest.approx(label.mean(), abs=1e-9)
    assert log_loss(label, p) <= log_loss(label, Platt.fit(margin, label)(margin))


def test_equal_priors_by_weight() -> None:
    margin, label = drawn(40_000)
    keep = (label == 0) | (np.arange(40_000) % 5 == 0)
    few = Platt.fit(margin[keep], label[keep], balanced(label[keep]))
    assert few.intercept == pytest.approx(Platt.fit(margin, label).intercept, abs=0.08)


def test_calibration_without_both_classes_is_refused() -> None:
    with pytest.raises(UnmaskError, match="one of the two classes"):
        Platt.fit([1.0, 2.0], [1, 1])


def groups(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two groups, one of them much noisier."""
    margin, label = drawn(n, seed)
    group = np.random.default_rng(seed + 100).choice(np.array(["clean", "noisy"]), n, p=[0.8, 0.2])
    return margin + np.where(group == "noisy", 5, 0) * np.random.default_rng(seed + 200).normal(size=n), label, group


def test_conformal_sets_cover_as_promised_and_mondrian_ones_in_each_group() -> None:
    margin, label, group = groups(20_000, 0)
    new, truth, theirs = groups(20_000, 7)
    plain = coverage(truth, Conformal.fit(margin, label)(new), theirs)
    within = coverage(truth, Conformal.fit(margin, label, group)(new, theirs), theirs)
    slack = 0.01  # the limits are estimates too: two standard errors on the 4,000 noisy rows
    assert plain[0].rate.low - slack <= 0.9 <= plain[0].rate.high + slack
    assert all(c.rate.low - slack <= 0.9 <= c.rate.high + slack for c in within)
    assert [c.group for c in within] == ["all", "clean", "noisy"]
    assert plain[2].rate.high < 0.85  # without categories the noisy group pays for the clean one


def test_the_promise_holds_on_average_over_many_small_fits() -> None:
    hits = []
    for seed in range(300):
        margin, label = drawn(40, seed)
        new, truth = drawn(50, seed + 1000)
        hits.append(coverage(truth, Conformal.fit(margin, label, level=0.8)(new))[0].rate.value)
    # ceil(41 x .8) / 41 = 33 / 41 exactly; 15,000 answers in 300 fits: standard error about .004
    assert np.mean(hits) == pytest.approx(33 / 41, abs=0.015)


def test_too_few_rows_promise_nothing_by_answering_everything() -> None:
    tiny = Conformal.fit([0.0, 1.0], [0, 1], level=0.9)
    assert tiny([-100.0, 100.0]).all()
    with pytest.raises(UnmaskError, match="no limit was fitted for 'b'"):
        Conformal.fit([0.0, 1.0], [0, 1], ["a", "a"])([0.0], ["b"])


def test_delong_variance_is_the_jackknifes() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 40)
    first, second = (rng.normal(size=80) + label for _ in range(2))
    found = delong_test(label, first, second)
    assert found.value == pytest.approx(auroc(label, first) - auroc(label, second))
    # Leaving out one fake at a time, and one real at a time: the two-sample jackknife (Arvesen 1969) is DeLong's.
    variance = 0.0
    for rows in (np.flatnonzero(label == 0), np.flatnonzero(label == 1)):
        left = []
        for i in rows:
            keep = np.arange(80) != i
            left.append(auroc(label[keep], first[keep]) - auroc(label[keep], second[keep]))
        variance += (len(rows) - 1) / len(rows) * ((left - np.mean(left)) ** 2).sum()
    assert (found.high - found.low) / 2 / 1.959964 == pytest.approx(np.sqrt(variance), rel=1e-5)
