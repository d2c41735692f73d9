"""Crops become videos, and videos numbers: arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from unmask.measure.cells import Judged, best_of, cell, threshold
from unmask.measure.protocol import Interval, Metric, Protocol, Threshold
from unmask.measure.scores import COLUMNS
from unmask.measure.units import Units, pair_order, pairing, units
from unmask.types import UnmaskError

HOW = Interval(rounds=200)


def crops(*rows: tuple[str, str, int, int, float | None, str]) -> pa.Table:
    """(method, video, frame, label, score, group) of each crop."""
    full = [
        {
            "item_id": f"{m}/{c}#{f}",
            "media_id": c,
            "dataset": "d",
            "method": m,
            "compression": "c23",
            "split": "test",
            "group_id": g,
            "label": y,
            "score": s,
            "probability": None if s is None else 1 / (1 + np.exp(-s)),
            "frame": f,
            "track": 0,
            "state": "failed" if s is None else "scored",
            "reason": "no face" if s is None else "",
        }
        for m, c, f, y, s, g in rows
    ]
    return pa.Table.from_pylist(full, schema=COLUMNS)


def made(label: list[int], score: list[float], groups: list[str] | None = None) -> Units:
    n = len(label)
    text = np.array(["x"] * n)
    clips = np.array([f"c{i}" for i in range(n)])
    return Units(
        np.array(label), np.array(score), np.full(n, np.nan), np.array(groups or clips), text, text, text, clips
    )


def test_clips_of_one_name_and_two_methods_stay_two_clips() -> None:
    found = units(
        crops(("a", "000_003", 0, 1, 1.0, "g"), ("a", "000_003", 1, 1, 3.0, "g"), ("b", "000_003", 0, 1, 8.0, "g"))
    )
    assert sorted(found.score.tolist()) == [2.0, 8.0]  # (1 + 3) / 2, and 8 alone


def test_a_clip_without_any_scored_crop_is_counted_not_scored() -> None:
    found = units(crops(("a", "x", 0, 1, None, "g"), ("a", "y", 0, 1, 1.0, "g"), ("a", "y", 1, 1, None, "g")))
    assert (found.score.tolist(), found.failed) == ([1.0], 1)


def test_few_frames_are_spread_over_the_scored_ones() -> None:
    table = crops(*(("a", "x", i, 1, float(i), "g") for i in range(8)))
    assert units(table, frames=1).score.tolist() == [4.0]  # place 0.5 * 8 = 4
    assert units(table, frames=2).score.tolist() == [4.0]  # places 2 and 6
    assert units(table, frames=99).score.tolist() == [3.5]


def test_the_top_frames_of_a_clip_decide_where_the_protocol_says_so() -> None:
    table = crops(*(("a", "x", i, 1, float(i), "g") for i in range(8)), ("a", "y", 0, 1, 3.0, "g"))
    assert units(table, pooling="top 3").score.tolist() == [6.0, 3.0]  # (5 + 6 + 7) / 3; fewer frames: all of them
    assert Protocol(name="made", title="Made", pooling="top 3").pooling == "top 3"
    with pytest.raises(ValueError, match="pooling"):
        Protocol(name="made", title="Made", pooling="top 0")


def test_a_clip_in_two_leakage_groups_is_refused_by_name() -> None:
    with pytest.raises(UnmaskError, match="x#1"):
        units(crops(("a", "x", 0, 1, 1.0, "g"), ("a", "x", 1, 1, 1.0, "h")))


def test_paired_keeps_both_sides_and_unpaired_never_does() -> None:
    reals = ("", "r1", 0, 0, 0.0, "g"), ("", "r2", 0, 0, 2.0, "h")
    fakes = ("a", "f1", 0, 1, 1.0, "g"), ("a", "f2", 0, 1, 2.0, "h"), ("a", "f3", 0, 1, 9.0, "i")
    table = crops(*reals, *fakes)
    original = {"f1": "r1", "f2": "r2", "f3": "gone"}
    both = pairing(units(table), original, "paired")
    assert sorted(both.media) == ["f1", "f2", "r1", "r2"]
    assert sorted(pair_order(both, original)[both.label == 1]) == [0.5, 1.0]  # f2 ties with r2, f1 is above r1
    single = set(pairing(units(table), original, "unpaired").media)
    assert "f3" in single
    assert len(single & {"f1", "r1"}) == len(single & {"f2", "r2"}) == 1


def test_a_threshold_comes_from_validation_and_is_used_as_it_is() -> None:
    # Validation: reals 0, 1, fakes 2, 3: every score from 2 up is called fake. Test: one of two reals above it.
    limit = threshold(made([0, 0, 1, 1], [0, 1, 2, 3]), Threshold())
    assert limit == 2
    judged = Judged("d", (made([0, 0, 1, 1], [1.5, 2.5, 2.0, 9.0]),), (limit,))
    found = cell(judged, "c", "balanced_accuracy", HOW, {})
    assert found.value == 0.75  # (2/2 + 1/2) / 2
    alarms = cell(judged, "c", "false_alarms", HOW, {})
    assert alarms.value == 0.5


@pytest.mark.parametrize(
    ("metric", "expected"),
    [  # reals -3, -1, 1; fakes 0, 2, 3. Threshold 1: one false alarm, one miss. P(fake) is 0.25 or 0.75, at 0 up.
        ("accuracy", 4 / 6),
        ("f1", 2 * 2 / (2 * 2 + 1 + 1)),
        ("tpr_at_fpr_1", 2 / 3),
        ("tpr_at_fpr_10", 2 / 3),
        ("partial_auc", (1 + (0.1 * 2 / 3 - 0.005) / (0.1 - 0.005)) / 2),
        ("eer_vertex", 1 / 3),
        ("brier", (0.75**2 + 5 * 0.25**2) / 6),
        ("log_loss", -(np.log(0.25) + 5 * np.log(0.75)) / 6),
    ],
)
def test_each_metric_that_a_protocol_may_name(metric: Metric, expected: float) -> None:
    found = made([0, 0, 0, 1, 1, 1], [-3, -1, 1, 0, 2, 3])
    found = replace(found, probability=np.where(found.score >= 0, 0.75, 0.25))
    got = cell(Judged("d", (found,), (1.0,)), "c", metric, HOW, {})
    assert got.value == pytest.approx(expected)
    assert got.low is not None
    assert got.high is not None
    assert got.low <= got.value <= got.high


def test_what_cannot_be_measured_says_why() -> None:
    fakes, both = Judged("d", (made([1, 1], [0, 1]),)), Judged("d", (made([0, 1], [0, 1]),))
    assert cell(fakes, "c", "auroc", HOW, {}).why == "not both classes"
    assert cell(both, "c", "ece", HOW, {}).why == "no calibration"
    assert cell(both, "c", "false_alarms", HOW, {}).why.startswith("no validation rows")


def test_only_a_difference_that_its_interval_separates_from_zero_is_marked() -> None:
    rng = np.random.default_rng(0)
    label = [0, 1] * 100
    good, bad = (
        Judged(name, (made(label, (rng.standard_normal(200) + shift * np.array(label)).tolist()),))
        for name, shift in (("good", 3.0), ("bad", 0.3))
    )
    twin = Judged("twin", (made(label, good.first.score.tolist()),))
    cells = [cell(d, "c", "auroc", HOW, {}) for d in (bad, good)]
    assert best_of(cells, [bad, good], HOW, {}) == 1
    assert best_of([cells[1], cells[1]], [good, twin], HOW, {}) is None
    errors = [cell(d, "c", "eer", HOW, {}) for d in (bad, good)]
    assert best_of(errors, [bad, good], HOW, {}) == 1  # of errors the lower is better


def test_five_groups_are_too_few_to_mark_anything() -> None:
    label, groups = [0, 1] * 20, [f"g{i // 8}" for i in range(40)]
    good = Judged("good", (made(label, [float(y) for y in label], groups),))
    bad = Judged("bad", (made(label, [-float(y) for y in label], groups),))
    cells = [cell(d, "c", "auroc", HOW, {}) for d in (bad, good)]
    assert [c.value for c in cells] == [0.0, 1.0]
    assert best_of(cells, [bad, good], HOW, {}) is None


def test_several_trainings_are_a_mean_whose_interval_draws_people_and_not_seeds() -> None:
    # Reals 0, 2; fakes 1, 3 and 3, 4: AUROC 3/4 and 1. Their mean counts, and both extremes are told.
    label = [0, 0, 1, 1] * 5
    first, second = made(label, [0, 2, 1, 3] * 5), made(label, [0, 2, 3, 4] * 5)
    found = cell(Judged("d", (first, second), (None, None)), "c", "auroc", HOW, {})
    assert (found.value, found.least, found.most, found.seeds) == (0.875, 0.75, 1.0, 2)
    alone = [cell(Judged("d", (u,)), "c", "auroc", HOW, {}) for u in (first, second)]
    assert alone[0].low <= found.low <= found.high <= alone[1].high  # type: ignore[operator]
    twice = cell(Judged("d", (first, first), (None, None)), "c", "auroc", HOW, {})
    assert (twice.low, twice.high) == (alone[0].low, alone[0].high)  # the same weights twice tell nothing new


def test_a_training_that_is_worse_keeps_the_mean_from_being_called_better() -> None:
    rng = np.random.default_rng(1)
    label = [0, 1] * 100
    strong, weak, middle = (
        made(label, (rng.standard_normal(200) + shift * np.array(label)).tolist()) for shift in (6.0, 0.2, 1.5)
    )
    mixed, other = Judged("mixed", (strong, weak), (None, None)), Judged("other", (weak, weak), (None, None))
    cells = [cell(d, "c", "auroc", HOW, {}) for d in (mixed, other)]
    assert best_of(cells, [mixed, other], HOW, {}) is None  # its second training is no better than the other's
    steady = Judged("steady", (strong, middle), (None, None))
    cells = [cell(d, "c", "auroc", HOW, {}) for d in (steady, other)]
    assert best_of(cells, [steady, other], HOW, {}) == 0


def test_each_training_has_its_own_threshold() -> None:
    # Limits 1 and 3: reals 0, 2 give false alarms 1/2 and 0.
    run = made([0, 0, 1, 1], [0, 2, 3, 4])
    found = cell(Judged("d", (run, run), (1.0, 3.0)), "c", "false_alarms", HOW, {})
    assert (found.value, found.least, found.most) == (0.25, 0.0, 0.5)
