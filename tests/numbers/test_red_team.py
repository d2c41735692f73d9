"""The table of attacks, by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from unmask.measure.interval import wilson
from unmask.measure.red_team import Outcome, Subject, median_to_flip, row

REAL, FAKE = np.array([-2.0, -1.0, 0.5]), np.array([-0.5, 1.0, 2.0, 3.0])
SUBJECT = Subject(REAL, FAKE, np.array(["a", "b", "c"]), np.array(["d", "e", "f", "g"]), 0.0)


def outcome(budget: str, attacked: list[float], norm: list[float]) -> Outcome:
    return Outcome("pgd", budget, np.array(attacked), FAKE - 1.5, np.array(attacked) + 0.6, np.array(norm), 20.0)


def test_rates_are_of_the_fakes_that_were_found() -> None:
    found = row(SUBJECT, outcome("2/255", [-1.0, -0.5, -1.5, 1.0], [0.1] * 4), 0.1, rounds=100)
    assert (found.real, found.fake, found.found) == (3, 4, 3)  # -0.5 is missed when untouched
    assert found.evasion == pytest.approx(2 / 3)
    assert (found.evasion_low, found.evasion_high) == (wilson(2, 3).low, wilson(2, 3).high)
    assert found.noise == pytest.approx(1 / 3)  # 1 - 1.5 < 0; 0.5 and 1.5 stay
    assert found.jpeg == pytest.approx(1 / 3)  # -0.5 + 0.6 is found again, -0.9 is not
    # Pairs won: -0.5 over 2 reals, 1, 2 and 3 over 3 each: 11 of 12. Attacked: -1 wins 1.5, -0.5 2, -1.5 1, 1 3.
    assert found.clean_auroc == pytest.approx(11 / 12)
    assert found.auroc == pytest.approx(7.5 / 12)


def test_the_median_takes_the_smallest_budget_that_flips() -> None:
    small = outcome("1/255", [-1.0, -0.5, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1])
    large = outcome("2/255", [-1.0, -0.5, -0.5, 1.0], [0.2, 0.2, 0.2, 0.2])
    assert median_to_flip(SUBJECT, [small, large]) == pytest.approx(0.2)  # of 0.1, 0.2 and never
    assert median_to_flip(SUBJECT, [small]) == np.inf
