"""Numbers worked out on paper; the arithmetic stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.attribution import accuracy_of_classes, ari, hungarian_accuracy, nmi, oscr
from unmask.measure.interval import paired
from unmask.measure.localisation import overlap, pixel_auroc
from unmask.measure.metrics import auroc, average_precision, eer, eer_vertex, partial_auc, tpr_at_fpr
from unmask.measure.sequence import adaptive_accuracy, fixed_accuracy
from unmask.measure.spoofing import development_threshold, spoofing
from unmask.measure.verification import verify
from unmask.types import UnmaskError


def test_the_two_rules_for_the_eer_differ() -> None:
    # From the top: fake, real, real, fake, real. Vertices (FPR, TPR): (0, 1/2) (1/3, 1/2) (2/3, 1/2) (2/3, 1) (1, 1).
    # FPR = FNR = 1/2 lies on the level stretch from 1/3 to 2/3. |FNR - FPR| at the corners (0, 1/2) 1/2,
    # (2/3, 1/2) 1/6: the vertex rule says 2/3.
    label, score = [1, 0, 0, 1, 0], [5, 4, 3, 2, 1]
    assert eer(label, score) == pytest.approx(1 / 2)
    assert eer_vertex(label, score) == pytest.approx(2 / 3)


def test_average_precision_and_the_low_end_of_the_roc() -> None:
    # Recall rises by 1/2 at precision 1/1 and by 1/2 at precision 2/4: 3/4
    label, score = [1, 0, 0, 1, 0], [5, 4, 3, 2, 1]
    assert average_precision(label, score) == pytest.approx(3 / 4)
    assert tpr_at_fpr(label, score, 0.1) == 0.5
    # Up to FPR .1 the curve is level at 1/2: raw .05; McClish (1 + (.05 - .005) / (.1 - .005)) / 2
    assert partial_auc(label, score, 0.1, standardised=False) == pytest.approx(0.05)
    assert partial_auc(label, score, 0.1) == pytest.approx((1 + 0.045 / 0.095) / 2)


def test_orders_of_edits() -> None:
    # 1-2-3 read as 2-3: fixed, five cells of which the last two agree: 2/5; adaptive: n = 3, none agree: 0
    assert fixed_accuracy([[1, 2, 3, 0, 0]], [[2, 3, 0, 0, 0]]) == pytest.approx(0.4)
    assert adaptive_accuracy([[1, 2, 3, 0, 0]], [[2, 3, 0, 0, 0]]) == 0
    # Turned round, 3-2-1 and 3-2: 4/5
    assert fixed_accuracy([[3, 2, 1, 0, 0]], [[3, 2, 0, 0, 0]]) == pytest.approx(0.8)
    # Pooled over rows: empty and empty 1 of 1; 1-2 read as 1: 1 of 2 -> 2/3
    assert adaptive_accuracy([[0, 0], [1, 2]], [[0, 0], [1, 0]]) == pytest.approx(2 / 3)
    with pytest.raises(UnmaskError, match="in row 1"):
        fixed_accuracy([[0, 0], [1, 2]], [[0, 0], [1, -1]])


def test_attacks_by_type() -> None:
    # Threshold .5: print missed 1 of 2, replay 0 of 1, bona fide called attacks 1 of 4
    found = spoofing([1, 1, 1, 0, 0, 0, 0], [0.9, 0.4, 0.8, 0.1, 0.2, 0.3, 0.5], ["p", "p", "r", "", "", "", ""], 0.5)
    assert (found.types, found.apcer, found.worst, found.bpcer) == (("p", "r"), (0.5, 0.0), 0.5, 0.25)
    assert found.acer == pytest.approx((0.5 + 0.25) / 2)
    assert found.hter == pytest.approx((1 / 3 + 1 / 4) / 2)  # all attacks together: 1 of 3 missed
    assert development_threshold([1, 1, 0, 0], [4, 3, 2, 1]) == 3


def test_clusters_matched_to_classes() -> None:
    truth, cluster = [0, 0, 0, 1, 1, 1], [1, 1, 0, 0, 0, 0]
    assert accuracy_of_classes(truth, cluster) == pytest.approx(1 / 6)
    assert hungarian_accuracy(truth, cluster) == pytest.approx(5 / 6)  # cluster 1 is class 0, cluster 0 is class 1


def test_clusters_agree_with_scikit_learn_and_ignore_names() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = int(rng.integers(1, 200))
        truth, cluster = rng.integers(0, 5, n), rng.integers(0, 7, n)
        renamed = rng.permutation(7)[cluster]
        for own, other in ((nmi, theirs.normalized_mutual_info_score), (ari, theirs.adjusted_rand_score)):
            assert own(truth, cluster) == pytest.approx(other(truth, cluster), abs=1e-9)
            assert own(truth, renamed) == pytest.approx(own(truth, cluster), abs=1e-12)
        assert hungarian_accuracy(truth, renamed) == hungarian_accuracy(truth, cluster)


def test_oscr_counts_only_right_answers() -> None:
    # Known: right at .9, wrong at .8; unknown at .5 and .9. Pairs won by right ones: (.9 > .5) 1, (.9 = .9) 1/2,
    # of 2 x 2 pairs: 3/8. All right, this is the open-set AUROC.
    assert oscr([1, 0, 0, 0], [0.9, 0.8, 0.5, 0.9], [1, 1, 0, 0]) == pytest.approx(3 / 8)
    assert oscr([1, 1, 0, 0], [0.9, 0.8, 0.5, 0.9], [1, 1, 0, 0]) == auroc([1, 1, 0, 0], [0.9, 0.8, 0.5, 0.9])


def test_a_fold_is_scored_at_the_threshold_of_the_others() -> None:
    # Fold 0: same .5, different 1.5. Fold 1: same 1.6, different 3.0. On fold 0 the first best threshold is .51, which
    # gets fold 1's same pair wrong; on fold 1 it is 1.61, which accepts fold 0's different pair: 1/2 and 1/2.
    found = verify([1, 0, 1, 0], [0.5, 1.5, 1.6, 3.0], [0, 0, 1, 1], target=0.0)
    assert found.thresholds == (pytest.approx(1.61), pytest.approx(0.51))
    assert found.accuracy == 0.5
    # VAL: the largest threshold that accepts no different pair is 3.0 (tried on fold 0) and 1.5 (tried on fold 1)
    assert (found.val, found.accepted, found.different) == (0.5, 1, 2)
    assert found.far == 0.5


def test_overlap_of_a_mask_and_a_map() -> None:
    # Two pixels of three forged and marked ones in common: IoU 1/3 with one shared pixel, F1 2 / 4
    mask, heat = [[[1, 1, 0, 0]], [[0, 0, 0, 0]]], [[[0.9, 0.1, 0.8, 0.2]], [[0.0, 0.0, 0.0, 0.0]]]
    found = overlap(mask, heat, 0.5)
    assert found.iou[0] == pytest.approx(1 / 3)
    assert found.f1[0] == pytest.approx(1 / 2)
    assert np.isnan(found.iou[1])
    # Forged .9 above all six genuine pixels, .1 above the five zeros ... of 4 + 2: zeros 4, .8, .2 -> (6 + 4) / 12
    assert pixel_auroc(mask, heat) == pytest.approx(10 / 12)


def test_the_paired_bootstrap_sees_what_two_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    label, group = rng.integers(0, 2, 2000), np.arange(2000)
    first = rng.normal(size=2000) + label
    worse = first + rng.normal(size=2000) * 0.3
    found = paired(auroc, label, first, worse, group, rounds=300)
    assert 0 < found.low < found.value < found.high
    assert found.p == pytest.approx(2 / 301)
    assert paired(auroc, label, first, first, group, rounds=50).p == 1
