"""Thresholds by policy: each keeps its promise on the rows that chose it, and its cost is told."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.fairness import audit
from unmask.measure.fairness_tables import Fairness, Part, markdown
from unmask.measure.policies import Limits, Policy, false_alarm_limit, found_limit, limits
from unmask.types import UnmaskError

# Reals of a: 0..39, of b: 100..139, of c and of nobody known: 0. Fakes of a: 30..69, of b: 110..149.
NAMES = ["a"] * 40 + ["b"] * 40 + ["c"] * 3 + [""] * 2 + ["a"] * 40 + ["b"] * 40
LABEL = [0] * 85 + [1] * 80
SCORE = np.array([*range(40), *range(100, 140), 0, 0, 0, 0, 0, *range(30, 70), *range(110, 150)], float)
REAL, FAKE = np.array(LABEL) == 0, np.array(LABEL) == 1


def chosen(policy: Policy, at: float = 0.1) -> Limits:
    return limits(policy, NAMES, LABEL, SCORE, range(165), at, 30)


def test_limits_keep_their_promise_with_ties() -> None:
    assert false_alarm_limit([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.2) == np.nextafter(8, 9)
    tied = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1.0])
    assert (tied >= false_alarm_limit(tied, 0.3)).mean() <= 0.3
    rng = np.random.default_rng(0)
    for at in (0.01, 0.05, 0.5):
        s = rng.integers(0, 20, 100)
        limit = false_alarm_limit(s, at)
        assert (s >= limit).mean() <= at
        assert (s >= np.floor(limit)).mean() > at  # and it is the lowest that does
    with pytest.raises(UnmaskError, match="needs real validation rows"):
        false_alarm_limit([], 0.1)


def test_found_fakes_by_hand() -> None:
    assert found_limit([1, 2, 3, 4], 0.5) == 3
    assert found_limit([1, 2, 3, 4], 0.51) == 2
    assert found_limit([1, 2, 3, 4], 1) == 1
    assert found_limit([1, 2], 0) == np.inf
    with pytest.raises(UnmaskError, match="needs forged validation rows"):
        found_limit([], 0.5)


def test_one_threshold_and_a_threshold_each() -> None:
    one, each = chosen("one"), chosen("equal-fpr")
    assert (SCORE[REAL] >= one.common).mean() <= 0.1
    assert not one.each
    assert each.each == {"a": np.nextafter(35, 36), "b": np.nextafter(135, 136)}  # 4 of 40 lie above
    assert each.of(["a", "c", ""]).tolist() == [np.nextafter(35, 36), one.common, one.common]


def test_the_worst_group_keeps_the_promise_and_the_others_pay() -> None:
    worst = chosen("worst-fpr")
    assert worst.common == np.nextafter(135, 136)
    of = {n: SCORE[REAL & (np.array(NAMES) == n)] >= worst.common for n in ("a", "b")}
    assert (of["a"].mean(), of["b"].mean()) == (0.0, 0.1)


def test_each_group_finds_what_one_threshold_finds_of_all() -> None:
    one, equal = chosen("one"), chosen("equal-tpr")
    names = np.array(NAMES)
    found = (SCORE[FAKE] >= one.common).mean()
    for n in ("a", "b"):
        own = (SCORE[FAKE & (names == n)] >= equal.each[n]).mean()
        assert found <= own < found + 1 / 40
    with pytest.raises(UnmaskError, match="needs forged validation rows"):
        limits("equal-tpr", ["a"] * 3, [0, 0, 0], [1, 2, 3], range(3), 0.1, 1)


def test_the_costs_stand_beside_each_other() -> None:
    parts = []
    for policy in ("one", "equal-fpr"):
        at = chosen(policy)  # type: ignore[arg-type]
        called = at.of(NAMES) <= SCORE
        found = audit("sex", NAMES, LABEL, SCORE, called, range(165), least=30, rounds=100)
        p = {g.name: g.p for g in found.gaps if g.p == g.p}
        parts.append(Part(detector="d", dataset="s", policy=policy, audit=found, adjusted=p, limits=at))
    text = markdown(
        Fairness(
            parts=tuple(parts), left_out=(), detectors=("d",), bundles=("0" * 64,), data="1" * 64, at=0.1, rounds=100,
            within="", lost={}, rebuild="unmask eval fairness",
        )
    )  # fmt: skip
    table = text[text.index("## What each policy costs: s, sex: d") :].splitlines()
    one, equal = (next(line for line in table if line.startswith(f"| {p} ")) for p in ("one", "equal-fpr"))
    assert "| b 0.200 | 0.200 |" in one  # 8 of b's 40 reals above the common limit, none of a's
    assert "| a 0.100 | 0.000 |" in equal
    assert "| a 0.000 |" in one  # no fake of a is found: the price of one threshold
