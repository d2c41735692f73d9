"""Sets of classes and numbers of classifiers, by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from unmask.bundles.classes import check, class_p_values, class_probabilities, class_sets
from unmask.errors import BundleError, InputError
from unmask.measure.class_units import ClassUnits, class_units, fit_temperature
from unmask.measure.classes import by_class, numbers
from unmask.types import ClassCalibration

CALIBRATION = ClassCalibration(kind="method", temperature=2.0, strangeness=((0.1, 0.2, 0.6), (0.5,)), data="made up")


def test_probabilities_and_p_values() -> None:
    # logits (2 ln 3, 0) / 2 = (ln 3, 0): softmax (3/4, 1/4); strangeness (1/4, 3/4).
    logits = np.array([[2 * np.log(3), 0.0]], np.float32)
    np.testing.assert_allclose(class_probabilities(CALIBRATION, logits), [[0.75, 0.25]], atol=1e-7)
    # Class 0: of (0.1, 0.2, 0.6) one is as strange as 1/4: (1 + 1) / 4. Class 1: none of (0.5): (1 + 0) / 2.
    np.testing.assert_allclose(class_p_values(CALIBRATION, logits), [[0.5, 0.5]])


def test_a_set_may_hold_both_or_nothing() -> None:
    logits = np.array([[2 * np.log(3), 0.0]], np.float32)
    assert class_sets(CALIBRATION, logits, 0.4).tolist() == [[True, True]]
    assert class_sets(CALIBRATION, logits, 0.5).tolist() == [[False, False]]


@pytest.mark.parametrize("rows", [((0.1,),), ((0.2, 0.1), ()), ((0.1, 1.5), ())])
def test_a_calibration_that_would_mislead_is_refused(rows: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(BundleError, match="calibration of its classes"):
        check(CALIBRATION.model_copy(update={"strangeness": rows}), ("a", "b"))


def test_temperature_that_makes_confidence_true() -> None:
    # Logits (2, 0) are right 3 times of 4: P = 3/4 needs 2 / T = ln 3, T = 1.8205.
    logits = np.tile([2.0, 0.0], (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(3), rel=1e-4)


def table(**columns: list[str]) -> pa.Table:
    n = len(columns["media_id"])
    return pa.table(
        {c: columns.get(c, ["x"] * n) for c in ("dataset", "method", "compression", "media_id", "group_id")}
    )


def test_crops_of_a_video_become_one() -> None:
    rows = table(media_id=["v", "v", "w"], method=["m", "m", "m"])
    found = class_units(rows, [[1.0, 0.0], [3.0, 2.0], [0.0, 5.0]], ["a", "a", "b"])
    assert sorted(zip(found.truth.tolist(), found.logits.tolist(), strict=True)) == [
        ("a", [2.0, 1.0]),
        ("b", [0.0, 5.0]),
    ]
    with pytest.raises(InputError, match="of two classes"):
        class_units(rows, np.zeros((3, 2)), ["a", "b", "b"])


def test_numbers_of_four_videos() -> None:
    # Classes a, b known, c not. Called a, b, a, b: rows of known classes are right in 2 of 3.
    # Unknown c has the least confidence (0.62 below 0.73, 0.88, 0.73): open-set AUROC 1.
    logits = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 0.5]])
    group = np.array(["1", "2", "3", "4"])
    units = ClassUnits(logits, np.array(["a", "b", "b", "c"]), group, group, group)
    found = {one.name: one for one in numbers(units, ("a", "b"))}
    assert found["accuracy"].found.value == pytest.approx(2 / 3)
    assert found["balanced accuracy"].found.value == pytest.approx(3 / 4)  # recall of a is 1, of b 1/2
    assert found["open-set AUROC"].found.value == 1
    assert found["accuracy"].n == 3
    # Clusters {1, 3} and {2, 4}: best matching a-first, b-second (or c): 2 of 4.
    assert found["Hungarian accuracy"].found.value == pytest.approx(1 / 2)
    assert 0 <= found["accuracy"].found.low <= 2 / 3 <= found["accuracy"].found.high <= 1


def test_rows_of_each_class() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    group = np.array(["1", "2", "3"])
    units = ClassUnits(logits, np.array(["b", "b", "c"]), group, group, group)
    sets = np.array([[True, True], [False, False], [False, False]])
    b, c = by_class(units, ("a", "b"), sets)
    assert (b.name, b.n, b.called, b.covered, b.empty, b.size) == ("b", 2, (1, 1), 0.5, 0.5, 1.0)
    assert (c.name, c.known, c.empty) == ("c", False, 1.0)
    assert np.isnan(c.covered)
