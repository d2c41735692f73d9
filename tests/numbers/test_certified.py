"""The certified radius, by hand."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("scipy")

from unmask.errors import UnmaskError
from unmask.measure.certified import least_share, radius


def test_all_votes_alike() -> None:
    # Of n votes all alike the least share is alpha^(1/n): 0.001^(1/100) = 0.93325; Phi^-1 of it is 1.5004.
    assert least_share(100, 100) == pytest.approx(0.001 ** (1 / 100))
    assert radius(100, 100, 0.5) == pytest.approx(0.5 * 1.5004, abs=1e-3)


def test_a_narrow_majority_is_no_answer() -> None:
    assert radius(55, 100, 0.5) == 0
    assert radius(0, 100, 0.5) == 0
    # One of one vote at alpha 0.5: p = 0.5, no answer; at alpha 0.8: Phi^-1(0.8) = 0.8416.
    assert radius(1, 1, 1.0, 0.5) == 0
    assert radius(1, 1, 1.0, 0.8) == pytest.approx(0.8416, abs=1e-4)
    assert math.isfinite(radius(10_000, 10_000, 1.0))


def test_impossible_votes() -> None:
    with pytest.raises(UnmaskError):
        radius(3, 2, 0.1)
