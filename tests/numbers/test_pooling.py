"""One code for each distinct row of several id columns, however they depend on each other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from unmask.measure.inputs import codes
from unmask.measure.pooling import combined


def alike(code: np.ndarray, count: int, rows: list[tuple[object, ...]]) -> bool:
    """Whether the codes are dense and tell exactly the distinct rows apart."""
    of = dict(zip(rows, code.tolist(), strict=True))
    same = [of[row] for row in rows] == code.tolist()
    return same and sorted(of.values()) == list(range(count)) == sorted(set(code.tolist()))


def test_codes_tell_rows_apart_as_a_dictionary_does() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 30))
        spans = rng.choice([1, 2, 5, 40, 2**20, 2**31 - 1], int(rng.integers(1, 6)))
        columns = [rng.integers(0, s, n) if rng.random() < 0.5 else np.arange(n) % s for s in spans]
        code, count = combined(columns)
        assert alike(code, count, list(zip(*(c.tolist() for c in columns), strict=True)))


def test_a_name_that_settles_the_rest_is_the_code_and_one_that_does_not_is_not() -> None:
    video = np.array([4, 2, 0, 4, 3, 1])
    assert combined((video % 2, np.zeros(6, int), video))[0].tolist() == video.tolist()
    method = np.array([0, 0, 0, 1, 1, 1])  # video 4 of two methods
    code, count = combined((method, video))
    assert (count, code[0] == code[3]) == (6, False)


def test_text_counts_like_numbers_and_nothing_is_changed_in_place() -> None:
    name = pa.array(["a", "b", "a", "c"])
    method = np.array([1, 0, 1, 0])
    before = method.copy()
    code, count = combined((name, method, method))
    assert alike(code, count, list(zip(name.to_pylist(), method.tolist(), strict=True)))
    dense = np.array([2, 0, 1])
    assert codes(dense)[0].tolist() == [2, 0, 1]
    assert method.tolist() == before.tolist()


@pytest.mark.parametrize("columns", [((), ()), (np.zeros(0, int),)])
def test_no_rows_are_no_codes(columns: tuple[np.ndarray, ...]) -> None:
    code, count = combined(columns)
    assert (len(code), count) == (0, 0)
