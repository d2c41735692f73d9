"""Calibration by hand, and the coverage that it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unmask.bundles.calibration import check, interval, log_odds, p_values, probabilities, probability
from unmask.types import Calibration, UnmaskError

C = Calibration(
    slope=2.0,
    intercept=-0.5,
    knots=(-2.0, 0.0, 2.0),
    low=(0.0, 0.3, 0.9),
    high=(0.1, 0.5, 1.0),
    real=(-3.0, -2.0, -1.0, 0.5),
    fake=(-0.5, 1.0, 2.0),
    data="made up",
)


def test_probability_by_hand() -> None:
    # 2 * 0.25 - 0.5 = 0 -> 1/2; 2 * 1 - 0.5 = 1.5 -> 1 / (1 + e^-1.5)
    assert probability(C, 0.25) == pytest.approx(0.5)
    assert probability(C, 1.0) == pytest.approx(1 / (1 + math.exp(-1.5)), rel=1e-6)
    np.testing.assert_allclose(probabilities(C, np.array([[0.25, -1e4, 1e4]], np.float32)), [[0.5, 0, 1]])


def test_margins_by_hand() -> None:
    np.testing.assert_allclose(log_odds(np.array([[1.0, 3.5]], np.float32), ("real", "fake")), [2.5])
    np.testing.assert_allclose(log_odds(np.array([[1.0, 3.5]], np.float32), ("fake", "real")), [-2.5])
    # Three classes: log(e^2 + e^3) - 1
    three = log_odds(np.array([[2.0, 1.0, 3.0]], np.float32), ("swap", "real", "gan"))
    np.testing.assert_allclose(three, [math.log(math.exp(2) + math.exp(3)) - 1], rtol=1e-6)


def test_interval_by_hand() -> None:
    # Half way from knot 0 to 2: low (0.3 + 0.9) / 2, high (0.5 + 1) / 2; p(1) = 0.8176 is above and moves high.
    assert interval(C, 1.0) == pytest.approx((0.6, 1 / (1 + math.exp(-1.5))))
    # At 0: p = 1 / (1 + e^0.5) = 0.3775 lies inside.
    assert interval(C, 0.0) == pytest.approx((0.3, 0.5))
    # Spread 0.5: ends at +-0.8225. low at -0.8225: 0.3 * (2 - 0.8225) / 2; high at 0.8225: 0.5 + 0.5 * 0.8225 / 2.
    assert interval(C, 0.0, 0.5) == pytest.approx((0.3 * 1.1775 / 2, 0.5 + 0.5 * 0.8225 / 2))
    # Beyond the knots the band stays.
    assert interval(C, 50.0) == pytest.approx((0.9, 1.0))


def test_p_values_by_hand() -> None:
    # Of real (-3, -2, -1, 0.5) one is >= 0.5: (1 + 1) / 5. Of fake (-0.5, 1, 2) one is <= 0.5: (1 + 1) / 4.
    assert p_values(C, 0.5) == (2 / 5, 2 / 4)
    # 3 is above all: no real, all forged.
    assert p_values(C, 3.0) == (1 / 5, 1.0)
    assert p_values(C, -9.0) == (1.0, 1 / 4)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_real_items_are_called_unreal_no_more_often_than_promised(rate: float) -> None:
    """Whatever the distribution, P(p <= rate) <= rate over calibration sets and new items of the same kind."""
    rng = np.random.default_rng(0)
    wrong_real = wrong_fake = 0
    for _ in range(4000):
        draws = np.sort(rng.standard_cauchy(60)), np.sort(np.round(rng.exponential(2, 45), 1))  # heavy tails; ties
        real, fake = (tuple(float(v) for v in d) for d in draws)
        calibration = C.model_copy(update={"real": real, "fake": fake})
        wrong_real += p_values(calibration, float(rng.standard_cauchy()))[0] <= rate
        wrong_fake += p_values(calibration, float(np.round(rng.exponential(2), 1)))[1] <= rate
    slack = 3 * math.sqrt(rate * (1 - rate) / 4000)
    assert wrong_fake / 4000 <= rate + slack
    assert rate - 1 / 61 - slack <= wrong_real / 4000 <= rate + slack


def test_the_interval_holds_the_score_and_grows_with_the_spread() -> None:
    for x in np.linspace(-6, 6, 101):
        widths = []
        for spread in (0.0, 0.2, 1.0):
            low, high = interval(C, float(x), spread)
            assert 0 <= low <= probability(C, float(x)) <= high <= 1
            widths.append(high - low)
        assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"slope": -1.0}, "slope"),
        ({"slope": float("nan")}, "finite"),
        ({"knots": ()}, "length"),
        ({"low": (0.1,)}, "length"),
        ({"knots": (0.0, 0.0, 1.0)}, "rise"),
        ({"real": (2.0, 1.0)}, "sorted"),
        ({"fake": (float("inf"),)}, "finite"),
        ({"high": (0.1, 0.5, 1.5)}, "0..1"),
    ],
)
def test_a_calibration_that_would_mislead_is_refused(change: dict[str, object], fault: str) -> None:
    check(C)
    with pytest.raises(UnmaskError, match=fault):
        check(C.model_copy(update=change))
