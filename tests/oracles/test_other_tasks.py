"""Metrics of the other tasks beside slow, plain versions of themselves and scikit-learn: ties, gaps, NaN, many rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, f1_score, jaccard_score, normalized_mutual_info_score, roc_auc_score

from unmask.measure.attribution import (
    accuracy_of_classes,
    ari,
    contingency,
    hungarian_accuracy,
    nmi,
    open_set_auroc,
    oscr,
)
from unmask.measure.localisation import overlap, pixel_auroc
from unmask.measure.sequence import adaptive_accuracy, fixed_accuracy
from unmask.measure.spoofing import development_threshold, spoofing
from unmask.measure.verification import verify
from unmask.types import UnmaskError

RNG = np.random.default_rng(20)


def plain_oscr(correct: np.ndarray, confidence: np.ndarray, known: np.ndarray) -> float:
    """The area by its definition: a point of the curve for each threshold, then trapezoids."""
    points = [(0.0, 0.0)]
    for t in sorted(set(confidence), reverse=True):
        taken = confidence >= t
        points.append(((taken & ~known).sum() / (~known).sum(), (taken & known & correct).sum() / known.sum()))
    return sum((x1 - x0) * (y1 + y0) / 2 for (x0, y0), (x1, y1) in pairwise(points))


@pytest.mark.parametrize("seed", range(5))
def test_oscr_is_the_area_under_its_curve_ties_and_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    correct, known = rng.random(80) < 0.7, rng.random(80) < 0.6
    confidence = rng.integers(0, 12, 80) / 11  # many ties
    assert oscr(correct, confidence, known) == pytest.approx(plain_oscr(correct, confidence, known), abs=1e-12)
    assert oscr(correct, confidence, known) <= open_set_auroc(known, confidence) + 1e-12
    assert oscr(correct, confidence, known) <= correct[known].mean() + 1e-12
    assert oscr(correct, np.exp(confidence), known) == pytest.approx(oscr(correct, confidence, known))


def test_clusterings_of_one_row_one_cluster_and_each_row_its_own() -> None:
    for truth, predicted in (([3], [9]), ([1] * 6, [4] * 6), (range(6), range(6))):
        assert hungarian_accuracy(truth, predicted) == nmi(truth, predicted) == ari(truth, predicted) == 1
    one, each = [1] * 6, list(range(6))
    assert nmi(one, each) == pytest.approx(normalized_mutual_info_score(one, each))
    assert ari(one, each) == pytest.approx(adjusted_rand_score(one, each))
    assert np.isnan([hungarian_accuracy([], []), nmi([], []), ari([], []), accuracy_of_classes([], [])]).all()


def test_clusterings_of_two_million_rows() -> None:
    truth = RNG.integers(0, 40, 2_000_000)
    predicted = np.where(RNG.random(len(truth)) < 0.8, (truth + 7) % 40, RNG.integers(0, 40, len(truth)))
    table = contingency(truth, predicted)
    assert table.sum() == len(truth)
    # A wrong draw hits the right cluster once in 40 times: 0.8 + 0.2 / 40.
    assert hungarian_accuracy(truth, predicted) == pytest.approx(0.805, abs=0.002)
    assert accuracy_of_classes(truth, (predicted - 7) % 40) == hungarian_accuracy(truth, predicted)


def test_orders_beside_a_loop_over_rows() -> None:
    truth, predicted = RNG.integers(0, 4, (500, 5)), RNG.integers(0, 4, (500, 5))
    right = cells = 0
    for a, b in zip(truth, predicted, strict=True):
        n = max(sum(x != 0 for x in a), sum(x != 0 for x in b), 1)
        right, cells = right + sum(x == y for x, y in zip(a[:n], b[:n], strict=True)), cells + n
    assert adaptive_accuracy(truth, predicted) == right / cells
    assert fixed_accuracy(truth, predicted) == np.mean(
        [x == y for x, y in zip(truth.flat, predicted.flat, strict=True)]
    )
    assert np.isnan(adaptive_accuracy(np.zeros((0, 5)), np.zeros((0, 5))))
    assert adaptive_accuracy([[0, 0]], [[0, 0]]) == 1


def test_spoofing_beside_a_loop_over_rows() -> None:
    label, attack = RNG.integers(0, 2, 400), np.array(["print", "replay", "mask"])[RNG.integers(0, 3, 400)]
    score = np.round(RNG.normal(label * 0.8, 1), 1)  # ties, some of them on the threshold
    got = spoofing(label, score, attack, 0.4)
    for name, rate in zip(got.types, got.apcer, strict=True):
        rows = [s for y, s, a in zip(label, score, attack, strict=True) if y == 1 and a == name]
        assert rate == pytest.approx(sum(s < 0.4 for s in rows) / len(rows))
    assert got.worst == max(got.apcer)
    assert got.bpcer == np.mean([s >= 0.4 for y, s in zip(label, score, strict=True) if y == 0])
    assert got.hter == pytest.approx((np.mean(score[label == 1] < 0.4) + got.bpcer) / 2)
    t = development_threshold(label, score)
    assert abs(np.mean(score[label == 1] < t) - np.mean(score[label == 0] >= t)) < 0.05


def test_spoofing_without_one_of_the_classes() -> None:
    only_real = spoofing([0, 0], [0.1, 0.9], ["", ""], 0.5)
    assert (only_real.bpcer, only_real.types) == (0.5, ())
    assert np.isnan([only_real.worst, only_real.acer, only_real.hter]).all()
    only_attacks = spoofing([1], [0.9], ["print"], 0.5)
    assert only_attacks.apcer == (0.0,)
    assert np.isnan([only_attacks.bpcer, only_attacks.acer]).all()


def test_verification_beside_loops_over_thresholds() -> None:
    same = np.tile([1, 0], 300)
    fold = np.repeat(np.arange(6), 100)
    distance = np.round(np.clip(RNG.normal(np.where(same == 1, 0.9, 2.1), 0.5), 0, 3.9), 2)
    got = verify(same, distance, fold, target=0.05)
    accuracy, val, far = [], [], []
    for k in range(6):
        test, rest = fold == k, fold != k
        best = max((np.mean((distance[rest] < t) == same[rest]), -t) for t in np.arange(0, 4, 0.01))
        accuracy.append(np.mean((distance[test] < -best[1]) == same[test]))
        kept = [t for t in np.arange(0, 4, 0.001) if np.mean(distance[rest & (same == 0)] < t) <= 0.05]
        val.append(np.mean(distance[test & (same == 1)] < max(kept)))
        far.append(np.mean(distance[test & (same == 0)] < max(kept)))
    assert (got.accuracy, got.val, got.far) == pytest.approx((np.mean(accuracy), np.mean(val), np.mean(far)))
    assert got.accepted == round(sum(far) * 50)


def test_localisation_beside_scikit_learn() -> None:
    mask = RNG.random((6, 16, 12)) < 0.2
    heat = np.round(RNG.normal(mask * 1.0, 1), 1)
    assert pixel_auroc(mask, heat) == pytest.approx(roc_auc_score(mask.ravel(), heat.ravel()))
    got = overlap(mask, heat, 0.5)
    for i in range(6):
        marked = (heat[i] >= 0.5).ravel()
        assert got.iou[i] == pytest.approx(jaccard_score(mask[i].ravel(), marked))
        assert got.f1[i] == pytest.approx(f1_score(mask[i].ravel(), marked))
    empty = overlap(np.zeros((2, 4, 4)), np.stack([np.zeros((4, 4)), np.ones((4, 4))]), 0.5)
    assert np.isnan(empty.iou[0])
    assert (empty.iou[1], empty.f1[1]) == (0, 0)
    assert np.isnan(pixel_auroc(np.zeros((1, 4, 4)), np.ones((1, 4, 4))))


NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: oscr([1, 1, 0], [0.1, NAN, 0.3], [1, 0, 1]), "row 1 is NaN"),
        (lambda: oscr([1, 2], [0.1, 0.2], [1, 0]), "row 1 is 2"),
        (lambda: open_set_auroc([0, 1], [NAN, 1.0]), "row 0 is NaN"),
        (lambda: nmi([0, 1], [0.0, NAN]), "row 1 is NaN"),
        (lambda: hungarian_accuracy([0, 1, 2], [0, 1]), "row 2 is missing"),
        (lambda: fixed_accuracy([[1, 0], [2, 0]], [[1, 0], [2, NAN]]), "row 1"),
        (lambda: adaptive_accuracy([[1, 0]], [[1, 0, 0]]), "alike"),
        (lambda: spoofing([1, 0], [0.5, NAN], ["a", ""], 0.5), "row 1 is NaN"),
        (lambda: spoofing([1, 0], [0.5, 0.5], ["a"], 0.5), "row 1 is missing"),
        (lambda: development_threshold([1, 1], [0.5, 0.6]), "classes is missing"),
        (lambda: verify([1, 0] * 4, [0.1, 0.2, NAN] + [1.0] * 5, [0] * 4 + [1] * 4), "row 2 is NaN"),
        (lambda: verify([1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]), "both kinds"),
        (lambda: pixel_auroc(np.zeros((2, 2, 2)), np.array([[[0.0, 0], [0, 0]], [[0, NAN], [0, 0]]])), "image 1"),
        (lambda: overlap(np.full((1, 2, 2), 0.5), np.zeros((1, 2, 2)), 0.5), "image 0"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used_are_named(call: Callable[[], object], said: str) -> None:
    with pytest.raises(UnmaskError, match=said):
        call()
