"""Platt scaling and what the card keeps of it."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.bundles import calibration as use
from unmask.measure.calibration import calibrate, platt


def test_platt_finds_the_truth() -> None:
    # Two unit normals at -1 and +1: the log odds of the second are 2 x.
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 20_000)
    a, b = platt(label, rng.normal(size=40_000) + 2 * label - 1)
    assert a == pytest.approx(2, abs=0.06)
    assert b == pytest.approx(0, abs=0.06)


def test_platt_answers_at_equal_priors() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 0, 0, 0, 0, 1], 5000)  # five reals to a fake
    a, b = platt(label, rng.normal(size=30_000) + 2 * label - 1)
    assert a == pytest.approx(2, abs=0.08)
    assert b == pytest.approx(0, abs=0.08)


def test_platt_stays_finite_where_the_classes_do_not_overlap() -> None:
    a, _ = platt([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0])
    assert 0 < a < 50


def test_platt_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, 4000)
    x = rng.normal(size=4000) * 1.5 + label
    model = linear.LogisticRegression(C=1e9, class_weight="balanced").fit(x[:, None], label)
    a, b = platt(label, x)
    assert a == pytest.approx(model.coef_[0, 0], rel=0.01)  # apart from Platt's smoothed targets
    assert b == pytest.approx(model.intercept_[0], abs=0.01)


def test_the_card_keeps_what_scans_need() -> None:
    rng = np.random.default_rng(3)
    label = np.tile([0, 1], 300)
    x = rng.normal(size=600) + 2 * label - 1
    c = calibrate(label, x, [str(i // 6) for i in range(600)], "numbers drawn here", rounds=100)
    use.check(c)
    assert len(c.real) == len(c.fake) == 300
    low, high = use.interval(c, 0.0)
    assert low < use.probability(c, 0.0) < high
    assert high - low < 0.3
    assert use.interval(c, 0.0, spread=1.0)[1] > high
