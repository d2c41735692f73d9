"""Fusion of scores, and the cost of a likelihood ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unmask.errors import InputError
from unmask.measure.fusion import Fusion, cross_fitted, deal
from unmask.measure.metrics import cllr, log_loss


def test_cllr_by_hand() -> None:
    # Fakes at P = 0.8 (LR 4) and 0.5 (LR 1): log2(1 + 1/4) = 0.3219 and log2(2) = 1, mean 0.66096.
    # One real at P = 0.2 (LR 1/4): log2(1 + 1/4) = 0.32193. Cllr = (0.66096 + 0.32193) / 2 = 0.49145.
    assert cllr([1, 1, 0], [0.8, 0.5, 0.2]) == pytest.approx(0.49145, abs=1e-5)
    assert cllr([1, 0], [0.5, 0.5]) == 1.0  # says nothing: one bit
    assert math.isnan(cllr([1, 1], [0.5, 0.5]))


def test_cllr_is_the_log_loss_in_bits_where_classes_are_equal() -> None:
    rng = np.random.default_rng(0)
    y, p = np.repeat([0, 1], 50), rng.random(100)
    assert cllr(y, p) == pytest.approx(log_loss(y, p) / math.log(2))


def test_weights_of_known_normals() -> None:
    # x ~ N(±1, 1): log likelihood ratio 2 x. z ~ N(±1, 2): 2 z / 4 = z / 2. Independent, so the sum is the truth,
    # whatever the share of fakes (here one in three).
    rng = np.random.default_rng(0)
    y = np.repeat([0, 0, 1], 10_000)
    logits = np.stack([2 * y - 1 + rng.normal(size=30_000), 2 * y - 1 + 2 * rng.normal(size=30_000)], axis=1)
    fusion = Fusion.fit(logits, y)
    assert fusion.weights == pytest.approx((2, 0.5), abs=0.06)
    assert fusion.intercept == pytest.approx(0, abs=0.06)
    assert fusion.probability(np.zeros((1, 2)))[0] == pytest.approx(0.5, abs=0.02)


def test_groups_are_never_parted_and_every_fold_has_both_classes() -> None:
    rng = np.random.default_rng(1)
    group = rng.integers(0, 30, 400)
    label = np.where(group < 10, 0, np.where(group < 20, 1, rng.integers(0, 2, 400)))
    fold = deal(group, label, 7)
    assert all(len(np.unique(fold[group == g])) == 1 for g in np.unique(group))
    assert all(set(label[fold == k]) == {0, 1} for k in range(7))
    with pytest.raises(InputError, match="2 leakage groups hold forged rows"):
        deal(["a", "b", "c", "d", "e"], [0, 0, 0, 1, 1], 3)


@pytest.mark.parametrize("by_method", [False, True])
def test_a_row_has_no_part_in_its_own_weights(by_method: bool) -> None:
    """Whatever stands in one fold, and in the forgeries of one method, their scores are the weights of the others."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(24), 5)
    label = np.tile([0, 0, 1, 1, 1], 24)
    method = np.where(label == 1, np.tile(["", "", "swap", "swap", "blend"], 24), "")
    logits = rng.normal(size=(120, 2)) + label[:, None]
    fold = deal(group, label, 4)
    inside = fold == 1
    own = inside | (label == 1) & (method == "swap") if by_method else inside
    before = cross_fitted(logits, label, fold, method if by_method else None)
    keep = ~own
    weights = Fusion.fit(logits[keep], label[keep])
    rows = inside & (label == 1) & (method == "swap") if by_method else inside
    assert before[rows] == pytest.approx(weights(logits[rows]))


def test_what_cannot_be_fused_is_said() -> None:
    with pytest.raises(InputError, match="row 1, column 0, is not finite"):
        Fusion.fit([[0.0], [np.inf]], [0, 1])
    with pytest.raises(InputError, match="one of the two classes"):
        Fusion.fit([[0.0], [1.0]], [1, 1])
    with pytest.raises(InputError, match="all forgeries are of one method"):
        cross_fitted([[0.0], [1.0]], [0, 1], np.array([0, 1]), np.array(["", "swap"]))
