"""Measures of explanations by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.faithfulness import (
    area,
    centre_prior,
    infidelity,
    order,
    pointing_game,
    rank_correlation,
    relevance_mass,
    relevance_rank,
)
from unmask.types import UnmaskError

MASK = np.array([[1, 1, 0], [0, 0, 0]])
HEAT = np.array([[4.0, 1, 3], [2, 0, 0]])


def test_a_map_against_a_mask() -> None:
    assert pointing_game(MASK, HEAT) == 1  # 4 lies in the mask
    assert relevance_mass(MASK, HEAT) == pytest.approx(5 / 10)
    assert relevance_rank(MASK, HEAT) == pytest.approx(1 / 2)  # of the two highest, 4 and 3, one
    # An empty map says nothing: what chance would give, 2 of 6 pixels.
    nothing = np.zeros((2, 3))
    found = [of(MASK, nothing) for of in (pointing_game, relevance_mass, relevance_rank)]
    assert found == pytest.approx([1 / 3] * 3)


def test_a_near_miss_counts_within_the_tolerance() -> None:
    heat = np.array([[0.0, 0, 0], [0, 0, 1]])  # 1 down and 1 right of the mask: sqrt(2) = 1.41 away
    assert [pointing_game(MASK, heat, tolerance) for tolerance in (0, 1, 2)] == [0, 0, 1]


def test_the_area_under_a_curve() -> None:
    assert area([4, 2, 0]) == pytest.approx((3 + 1) / 2)


def test_infidelity_at_the_best_scale() -> None:
    # b = (1 2 + 2 4) / (1 + 4) = 2 foretells (2, 4) exactly
    assert infidelity([1, 2], [2, 4]) == pytest.approx(0)
    # b = (1 2 + 1 0) / 2 = 1: ((1 - 2)^2 + (1 - 0)^2) / 4 = 1/2
    assert infidelity([1, 1], [2, 0]) == pytest.approx(0.5)
    assert infidelity([1, 1], [-2, -1]) == 1  # a map is no evidence against itself: b = 0
    assert np.isnan(infidelity([1, 1], [0, 0]))


def test_rank_correlation_with_ties() -> None:
    # ranks 0, 1, 2 and 2, 0.5, 0.5, centred -1 0 1 and 1 -.5 -.5: -1.5 / sqrt(2 1.5)
    assert rank_correlation([[1, 2, 3]], [[9, 4, 4]]) == pytest.approx(-1.5 / np.sqrt(3))
    assert np.isnan(rank_correlation([[1, 1]], [[1, 2]]))


def test_the_order_begins_with_the_highest_and_mixes_ties() -> None:
    assert order(HEAT)[:4].tolist() == [0, 2, 3, 1]
    assert order(np.zeros((4, 4))).tolist() != list(range(16))


def test_the_centre_prior_is_highest_in_the_middle() -> None:
    found = centre_prior(4)
    assert found[1, 1] == found[2, 2] == found.max()
    assert found[0, 0] == pytest.approx(np.exp(-0.5 * 2 * (0.375 / 0.25) ** 2))


@pytest.mark.parametrize("mask", [np.zeros((2, 3)), np.ones((2, 3)), np.ones((3, 2))])
def test_masks_that_say_nothing_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(UnmaskError, match="mask"):
        relevance_mass(mask, HEAT)
