"""The scores table refuses what cannot be measured, and says which row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unmask.measure import scores
from unmask.types import UnmaskError

KEY = scores.Key("one", "a" * 64, "b" * 64)


def table(**changed: list[object]) -> pa.Table:
    """Two scored crops of a video and one that failed; some columns replaced."""
    columns: dict[str, list[object]] = {
        "item_id": ["d/m/c23/x#0", "d/m/c23/x#1", "d/m/c23/x#2"],
        "media_id": ["d/m/c23/x"] * 3,
        "dataset": ["d"] * 3,
        "method": ["m"] * 3,
        "compression": ["c23"] * 3,
        "split": ["test"] * 3,
        "group_id": ["g"] * 3,
        "label": [1, 1, 1],
        "score": [1.5, -0.5, None],
        "probability": [0.8, None, None],
        "frame": [0, 1, 2],
        "track": [0, 0, None],
        "state": ["scored", "scored", "failed"],
        "reason": ["", "", "no face"],
    }
    return pa.table(columns | changed)


def test_a_table_comes_back_as_it_was_written_with_its_key(tmp_path: Path) -> None:
    scores.write(tmp_path / KEY.file_name, table(), KEY)
    found, key = scores.read(tmp_path / KEY.file_name)
    assert key == KEY
    assert found.schema.equals(scores.COLUMNS)
    assert found["score"].to_pylist() == [1.5, -0.5, None]
    assert scores.cached(tmp_path, KEY) == found


def test_the_cache_knows_other_weights_other_data_and_other_rules_from_these(tmp_path: Path) -> None:
    scores.write(tmp_path / KEY.file_name, table(), KEY)
    for other in (
        scores.Key("one", "c" * 64, "b" * 64),
        scores.Key("one", "a" * 64, "c" * 64),
        scores.Key("one", "a" * 64, "b" * 64, "0"),
    ):
        assert scores.cached(tmp_path, other) is None
    (tmp_path / scores.Key("x", "c" * 64, "b" * 64).file_name).write_bytes((tmp_path / KEY.file_name).read_bytes())
    assert scores.cached(tmp_path, scores.Key("x", "c" * 64, "b" * 64)) is None
    assert scores.cached(tmp_path, scores.Key("another name", KEY.bundle, KEY.data)) is not None


@pytest.mark.parametrize(
    ("changed", "row", "why"),
    [
        ({"score": [1.5, float("nan"), None]}, "x#1", "not finite"),
        ({"score": [float("inf"), 0.0, None]}, "x#0", "not finite"),
        ({"score": [1.5, None, None]}, "x#1", "scored without a score"),
        ({"score": [1.5, 0.0, 0.5]}, "x#2", "failed with one"),
        ({"reason": ["", "", ""]}, "x#2", "failed without a reason"),
        ({"reason": ["", "blurred", "no face"]}, "x#1", "is scored and has one"),
        ({"probability": [1.2, None, None]}, "x#0", "outside 0..1"),
        ({"probability": [float("nan"), None, None]}, "x#0", "outside 0..1"),
        ({"probability": [0.1, None, 0.5]}, "x#2", "without a score"),
        ({"label": [1, 2, 1]}, "x#1", "label not 0 or 1"),
        ({"state": ["scored", "fine", "failed"]}, "x#1", "state not of"),
        ({"group_id": ["g", None, "g"]}, "x#1", "no group_id"),
        ({"item_id": ["x#0", "x#1", "x#0"]}, "x#0", "more than once"),
    ],
)
def test_a_row_that_cannot_be_measured_is_refused_by_name(changed: dict[str, list[object]], row: str, why: str) -> None:
    with pytest.raises(UnmaskError, match=why) as error:
        scores.validate(table(**changed))
    assert row in str(error.value)


def test_columns_are_those_of_the_schema_no_more_no_less() -> None:
    with pytest.raises(UnmaskError, match="lacks score"):
        scores.validate(table().drop_columns(["score"]))
    with pytest.raises(UnmaskError, match="unknown guess"):
        scores.validate(table().append_column("guess", pa.array([1, 2, 3])))
    with pytest.raises(UnmaskError, match="another type"):
        scores.validate(table(score=["high", "low", None]))


def test_an_unlabelled_row_is_allowed() -> None:
    assert scores.validate(table(label=[None, 1, 0]))["label"].null_count == 1


def test_what_is_no_scores_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no table")
    pq.write_table(table(), tmp_path / "b")
    for name in ("a", "b", "c"):
        with pytest.raises(UnmaskError, match=r"scores table.*unmask eval bench"):
            scores.read(tmp_path / name)


def test_a_faulty_table_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError):
        scores.write(tmp_path / "x.parquet", table(score=[1.5, None, None]), KEY)
    assert not list(tmp_path.iterdir())
