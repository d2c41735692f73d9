"""Metrics by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.interval import bootstrap
from unmask.measure.metrics import auroc, ece, eer, share


def test_auroc_by_hand() -> None:
    # fakes .9 and .4, reals .5 and .1: of the four pairs, three are in order
    assert auroc([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1]) == 0.75
    # one tie counts half: (.5, .5) 1/2, (.5, .1) 1 -> 1.5 of 2
    assert auroc([1, 0, 0], [0.5, 0.5, 0.1]) == 0.75
    assert np.isnan(auroc([1, 1], [0.1, 0.2]))


def test_eer_by_hand() -> None:
    # Perfect separation, complete confusion, and one of two wrong on each side.
    assert eer([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]) == 0
    assert eer([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]) == 1
    assert eer([1, 0, 1, 0], [0.9, 0.8, 0.2, 0.1]) == 0.5
    # All scores equal: the ROC is the diagonal from (0, 0) to (1, 1), where both errors are one half.
    assert eer([1, 0], [0.3, 0.3]) == 0.5


def test_ece_by_hand() -> None:
    # Bin .2-.3 holds two reals at .25: off by .25; bin .7-.8 holds a fake at .75: off by .25; weighted mean .25
    assert ece([0, 0, 1], [0.25, 0.25, 0.75]) == pytest.approx(0.25)
    assert ece([1, 0], [1.0, 0.0]) == 0


def test_ranks_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        label, score = rng.integers(0, 2, 200), rng.normal(size=200).round(1)  # rounding makes ties
        assert auroc(label, score) == pytest.approx(metrics.roc_auc_score(label, score))
        fpr, tpr, _ = metrics.roc_curve(label, score, drop_intermediate=False)
        crossing = np.argmin(np.abs(fpr - (1 - tpr)))
        assert abs(eer(label, score) - fpr[crossing]) <= np.diff(fpr, prepend=0).max() + np.diff(tpr, prepend=0).max()


def test_bootstrap_is_wider_when_items_hang_together() -> None:
    rng = np.random.default_rng(1)
    label = np.tile([0, 1], 200)
    actor = np.repeat(np.arange(20), 20)
    score = label + rng.normal(size=20)[actor] * (label * 2 - 1) + rng.normal(size=400)
    alone = bootstrap(auroc, label, score, [str(i) for i in range(400)], rounds=200)
    grouped = bootstrap(auroc, label, score, [str(a) for a in actor], rounds=200)
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    assert grouped.low < grouped.value == auroc(label, score) < grouped.high


def test_bootstrap_of_one_class() -> None:
    found = bootstrap(share, [0] * 100, [1.0] * 10 + [0.0] * 90, [str(i) for i in range(100)])
    assert 0.03 < found.low < 0.1 < found.high < 0.18  # 10 % of 100: about 10 +- 2 * 3
    assert np.isnan(bootstrap(auroc, [1, 1], [0.1, 0.2], ["a", "b"]).low)
