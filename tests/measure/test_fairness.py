"""Fairness numbers by hand, beside fairlearn, and on planted truths: a gap that is there, none, and empty detectors."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.fairness import Audit, Rate, audit, holm
from unmask.types import UnmaskError

# a: reals 4, one called; fakes 2, both called.  b: reals 2, one called; fakes 4, one called.
SUB = list("aaaaaabbbbbb")
Y = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
CALLED = np.array([1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0])
SCORE = np.array([4, 1, 1, 1, 5, 5, 4, 1, 5, 2, 2, 2.0])
OWN = [f"g{i}" for i in range(12)]


def hand(**more: object) -> Audit:
    options: dict[str, object] = {"least": 1, "rounds": 100}
    return audit("sex", SUB, Y, SCORE, CALLED, OWN, **(options | more))  # type: ignore[arg-type]


def rate(found: Audit, subgroup: str, metric: str) -> Rate:
    (one,) = [r for r in found.rates if (r.subgroup, r.metric) == (subgroup, metric)]
    return one


def test_rates_and_gaps_by_hand() -> None:
    found = hand()
    assert (rate(found, "a", "fpr").value, rate(found, "b", "fpr").value) == (0.25, 0.5)
    assert (rate(found, "a", "tpr").value, rate(found, "b", "tpr").value) == (1.0, 0.25)
    assert rate(found, "all", "fpr").value == pytest.approx(2 / 6)
    assert rate(found, "all", "tpr").value == 0.5  # 3 of 6
    assert (rate(found, "a", "fpr").n, rate(found, "a", "tpr").n, rate(found, "all", "auroc").n) == (4, 2, 12)
    assert found.gap("fpr_gap").value == 0.25
    assert found.gap("fpr_ratio").value == 2
    assert found.gap("F_FPR").value == pytest.approx(abs(1 / 4 - 1 / 3) + abs(1 / 2 - 1 / 3))
    assert found.gap("F_OAE").value == pytest.approx(5 / 6 - 2 / 6)  # a: 3 + 2 of 6 right, b: 1 + 1 of 6
    assert found.gap("F_DP").value == pytest.approx(3 / 6 - 2 / 6)
    assert found.gap("F_MEO").value == 0.75
    assert found.gap("F_EO").value == pytest.approx(1 / 12 + 1 / 6 + 0.5 + 0.25)
    # a: every fake above every real, 1. b: reals 4, 1; fakes 5, 2, 2, 2: right 4 + 1 of 8 pairs.
    assert found.gap("auroc_gap").value == pytest.approx(1 - 5 / 8)
    assert found.worst == (("fpr", "b"), ("tpr", "b"))
    assert not found.real_only


def test_rates_agree_with_fairlearn() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics")
    rng = np.random.default_rng(0)
    n = 500
    sub, y, score = rng.choice(["x", "y", "z"], n), rng.integers(0, 2, n), rng.standard_normal(n)
    called = score + 0.3 * (sub == "x") > 0.2
    found = audit("race", sub, y, score, called, np.arange(n), least=1, rounds=100)
    frame = fairlearn.MetricFrame(
        metrics={
            "fpr": fairlearn.false_positive_rate,
            "tpr": fairlearn.true_positive_rate,
            "called_fake": fairlearn.selection_rate,
        },
        y_true=y,
        y_pred=called.astype(int),
        sensitive_features=sub,
    )
    for group, row in frame.by_group.iterrows():
        for metric, value in row.items():
            assert rate(found, str(group), str(metric)).value == pytest.approx(value)
    assert found.gap("F_MEO").value == pytest.approx(
        fairlearn.equalized_odds_difference(y, called.astype(int), sensitive_features=sub)
    )
    assert found.gap("F_DP").value == pytest.approx(
        fairlearn.demographic_parity_difference(y, called.astype(int), sensitive_features=sub)
    )


def test_sets_without_fakes_say_false_alarms_and_nothing_else() -> None:
    found = audit(
        "sex", ["a"] * 40 + ["b"] * 40, [0] * 80, range(80), [False] * 70 + [True] * 10, range(80), rounds=100
    )
    assert found.real_only
    assert {r.metric for r in found.rates} == {"fpr"}
    assert {g.name for g in found.gaps} == {"fpr_gap", "fpr_ratio", "F_FPR"}
    assert found.worst == (("fpr", "b"),)
    assert found.gap("fpr_gap").p < 0.05  # 0 of 40 against 10 of 40


def test_small_cells_are_insufficient_data_and_never_a_rate() -> None:
    sub = ["a"] * 40 + ["b"] * 40 + ["c"] * 5 + [""] * 3
    found = audit("race", sub, [0] * 88, range(88), [True] * 88, range(88), rounds=100)
    assert found.excluded == (("not known", "3 items"), ("c", "insufficient data: 5 real groups of 30"))
    assert {r.subgroup for r in found.rates} == {"a", "b", "all"}
    few_people = audit("race", sub, [0] * 88, range(88), [True] * 88, [i // 2 for i in range(88)], least=20, rounds=100)
    assert rate(few_people, "a", "fpr").groups == 20  # two images of each person
    with pytest.raises(UnmaskError, match="fewer than two groups"):
        audit("race", sub, [0] * 88, range(88), [True] * 88, [i // 2 for i in range(88)], rounds=100)


@pytest.mark.parametrize(("score", "said"), [(np.zeros(400), "everything"), (None, "cannot be told from chance")])
def test_an_empty_detector_is_not_the_fairest(score: np.ndarray | None, said: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    s = rng.standard_normal(400) if score is None else score
    found = audit("sex", rng.choice(["a", "b"], 400), y, s, s >= 0, np.arange(400), rounds=200)
    assert said in found.useless
    good = y + 0.5 * rng.standard_normal(400)
    assert audit("sex", rng.choice(["a", "b"], 400), y, good, good > 0.5, np.arange(400), rounds=200).useless == ""


def planted(gap: float, seed: int) -> float:
    """Six subgroups, 40 people each, 4 videos a person that err together; one subgroup has more false alarms."""
    rng = np.random.default_rng(seed)
    person = np.arange(240).repeat(4)
    sub = person // 40
    rate_ = 0.15 + gap * (sub == 0)
    taste = rng.beta(0.5, 0.5, 240)[person]  # people differ: their four videos hang together
    called = rng.random(960) < np.clip(rate_ * 2 * taste, 0, 1)
    found = audit("skin", sub.astype(str), np.zeros(960), called, called, person, rounds=99, seed=seed)
    return found.gap("fpr_gap").p


def test_a_planted_gap_is_found_and_chance_is_not_taken_for_one() -> None:
    null = np.array([planted(0.0, s) for s in range(60)])
    assert (null <= 0.05).mean() <= 0.14  # 0.05 + 3 sigma of 60 runs
    assert np.mean([planted(0.3, s) <= 0.05 for s in range(8)]) > 0.8


def test_labels_are_dealt_within_strata_only() -> None:
    """All of the gap is the light: within a stratum nothing is left, across strata it looks like the group."""
    rng = np.random.default_rng(0)
    dark = rng.random(600) < 0.5
    sub = np.where(rng.random(600) < np.where(dark, 0.8, 0.2), "x", "y")
    called = rng.random(600) < np.where(dark, 0.5, 0.1)
    args = ("skin", sub, np.zeros(600), called, called, np.arange(600))
    assert audit(*args, rounds=300).gap("fpr_gap").p < 0.02
    assert audit(*args, rounds=300, strata=dark).gap("fpr_gap").p > 0.05


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x .01, 2 x .03, max(.06, .04)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
