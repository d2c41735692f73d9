"""Curves of corruption: numbers by hand, against the single-table functions, and on scores whose truth is planted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from unmask.measure.interval import bootstrap, joint, paired
from unmask.measure.metrics import auroc, eer, share, tpr_at_fpr
from unmask.measure.protocol import Interval
from unmask.measure.robustness import Number, Suite, suite
from unmask.measure.scores import COLUMNS, validate

HOW = Interval(rounds=200)


def table(label: list[int], score: list[float | None], group: list[str] | None = None) -> pa.Table:
    """One crop an item."""
    rows = [
        {
            "item_id": f"i{i}#0", "media_id": f"i{i}", "dataset": "made", "method": "", "compression": "",
            "split": "test", "group_id": group[i] if group else f"g{i}", "label": y, "score": s, "probability": None,
            "frame": 0, "track": None, "state": "failed" if s is None else "scored",
            "reason": "no face" if s is None else "",
        }
        for i, (y, s) in enumerate(zip(label, score, strict=True))
    ]  # fmt: skip
    return validate(pa.Table.from_pylist(rows, COLUMNS))


def at(found: Suite, kind: str, level: str, metric: str) -> Number:
    (one,) = [n for n in found.numbers if (n.kind, n.level, n.metric) == (kind, level, metric)]
    return one


Y = [0, 0, 1, 1]
CLEAN = [0.0, 1.0, 2.0, 3.0]  # AUROC 1
MIXED = [0.0, 2.0, 1.0, 3.0]  # pairs (0,1) (0,3) (2,1) (2,3): three of four right, AUROC 0.75
TURNED = [2.0, 3.0, 0.0, 1.0]  # AUROC 0


def test_mean_area_and_fall_by_hand() -> None:
    tables = {("clean", 0): table(Y, CLEAN)}
    tables |= {("fog", 1): table(Y, CLEAN), ("fog", 2): table(Y, MIXED), ("fog", 3): table(Y, TURNED)}
    tables |= {("rain", 1): table(Y, MIXED), ("rain", 2): table(Y, MIXED)}
    found = suite("d", "made", "reuse", tables, HOW, limit=2.0)
    assert at(found, "fog", "mean", "auroc").value == pytest.approx((1 + 0.75 + 0) / 3)
    assert at(found, "fog", "area", "auroc").value == pytest.approx((1 + 0.875 + 0.375) / 3)  # trapezoids over 0..3
    assert at(found, "fog", "fall", "auroc").value == pytest.approx(1 - 1.75 / 3)
    assert at(found, "rain", "mean", "auroc").value == 0.75
    assert at(found, "rain", "area", "auroc").value == pytest.approx((0.875 + 0.75) / 2)
    assert at(found, "all kinds", "mean", "auroc").value == pytest.approx((1.75 / 3 + 0.75) / 2)
    assert found.worst == "fog"
    # limit 2: MIXED calls one of two reals fake and misses one of two fakes; so does the sign of "fall" turn round
    assert at(found, "rain", "1", "false_alarms").value == at(found, "rain", "1", "misses").value == 0.5
    assert at(found, "rain", "fall", "false_alarms").value == 0.5
    assert found.idle == ()


def test_a_lost_item_is_a_coin_toss_in_every_pair_it_is_in() -> None:
    # One of two fakes lost, the rest right: pairs 2 right of 4, 2 tossed: (2 + 1) / 4.
    tables = {("clean", 0): table(Y, CLEAN), ("fog", 1): table(Y, [0.0, 1.0, 2.0, None])}
    found = suite("d", "made", "redetect", tables, HOW)
    assert at(found, "fog", "1", "auroc").value == 1
    assert at(found, "fog", "1", "end_to_end").value == 0.75
    assert at(found, "fog", "1", "lost_fake").value == 0.5
    assert at(found, "fog", "1", "lost_real").value == 0
    assert (at(found, "fog", "1", "auroc").real, at(found, "fog", "1", "auroc").fake) == (2, 1)
    everyone = suite("d", "made", "redetect", tables | {("fog", 1): table(Y, [None] * 4)}, HOW)
    assert at(everyone, "fog", "1", "end_to_end").value == 0.5
    assert np.isnan(at(everyone, "fog", "1", "auroc").value)


def test_coin_tosses_agree_with_tossing_coins() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    s = y + rng.standard_normal(60)
    lost = rng.random(60) < 0.3
    tables = {("clean", 0): table(y.tolist(), s.tolist())}
    tables["fog", 1] = table(y.tolist(), [None if gone else float(v) for v, gone in zip(s, lost, strict=True)])
    value = at(suite("d", "made", "redetect", tables, HOW), "fog", "1", "end_to_end").value
    above = (s[y == 1][:, None] > s[y == 0]).astype(float)
    above[lost[y == 1]] = 0.5
    above[:, lost[y == 0]] = 0.5
    assert value == pytest.approx(above.mean())


def test_levels_that_do_nothing_are_told_and_a_true_recovery_is_seen() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 2).tolist()
    weak, strong = (np.array(y) * k + rng.standard_normal(200) for k in (0.2, 3.0))
    tables = {("clean", 0): table(y, strong.tolist()), ("still", 1): table(y, strong.tolist())}
    tables |= {("odd", 1): table(y, weak.tolist()), ("odd", 2): table(y, strong.tolist())}
    found = suite("d", "made", "reuse", tables, HOW)
    assert found.idle == ("still",)
    assert found.rises == (("odd", 2),)
    assert found.worst == "odd"
    assert found.sure == 1.0


def test_data_without_fakes_keep_what_reals_can_say() -> None:
    tables = {("clean", 0): table([0] * 20, [0.0] * 20), ("fog", 1): table([0] * 20, [3.0] * 10 + [None] * 10)}
    found = suite("d", "made", "reuse", tables, HOW, limit=1.0)
    assert np.isnan(at(found, "fog", "1", "auroc").value)
    assert at(found, "fog", "1", "false_alarms").value == 1
    assert at(found, "fog", "1", "lost_real").value == 0.5
    assert found.worst == ""


def test_joint_resamples_are_those_of_the_single_functions() -> None:
    rng = np.random.default_rng(1)
    y, group = rng.integers(0, 2, 300), rng.integers(0, 40, 300)
    a, b = y + rng.standard_normal(300), 0.5 * y + rng.standard_normal(300)
    values, drawn = joint([(m, y, s, group) for m in (auroc, eer, tpr_at_fpr, share) for s in (a, b)], 300, 7)
    for k, (metric, score) in enumerate((m, s) for m in (auroc, eer, tpr_at_fpr, share) for s in (a, b)):
        alone = bootstrap(metric, y, score, group, 300, 7)
        assert values[k] == pytest.approx(alone.value)
        assert alone.value == pytest.approx(metric(y, score))
        # ids are sorted as text there and as numbers here, so draws differ: the intervals agree, not the digits
        assert np.quantile(drawn[:, k], (0.025, 0.975)) == pytest.approx((alone.low, alone.high), abs=0.04)
    both = paired(auroc, y, a, b, group, 300, 7)
    assert np.quantile(drawn[:, 0] - drawn[:, 1], (0.025, 0.975)) == pytest.approx((both.low, both.high), abs=0.03)


def test_parts_may_lack_groups_that_others_have() -> None:
    values, drawn = joint([(share, [0, 0], [1, 0], ["a", "b"]), (share, [0], [1], ["c"])], 500, 0)
    assert values.tolist() == [0.5, 1]
    assert set(drawn[~np.isnan(drawn[:, 1]), 1]) == {1.0}  # NaN where "c" was not drawn: (2/3)^3
    assert np.isnan(drawn[:, 1]).mean() == pytest.approx((2 / 3) ** 3, abs=0.07)
