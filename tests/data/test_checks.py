"""`unmask data check` and friends: each fault is found, and none where there is none."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.data import checks, edit
from unmask.data.manifest import Manifest, Row, write
from unmask.types import UnmaskError


def row(n: int, **changes: object) -> Row:
    values = {"dataset": "d", "item_id": f"d/{n}", "relpath": f"{n}.png", "label": n % 2, "group_id": f"g{n}"}
    return Row.model_validate(values | changes)


def make(path: Path, *rows: Row) -> Manifest:
    return write(path / "m.parquet", rows, path)


def test_counts_are_by_data_set_method_split_and_label(tmp_path: Path) -> None:
    manifest = make(
        tmp_path, row(0), row(1, method="FS"), row(3, method="FS", group_id="g1"), row(5, label=None, split="test")
    )
    assert [(c.method, c.split, c.real, c.fake, c.unlabelled, c.groups) for c in checks.counts(manifest)] == [
        ("", "", 1, 0, 0, 1),
        ("", "test", 0, 0, 1, 1),
        ("FS", "", 0, 2, 0, 1),
    ]


def test_a_group_in_two_splits_is_found(tmp_path: Path) -> None:
    one, other = row(0, split="train", group_id="g"), row(1, split="test", group_id="g")
    found = checks.straddlers(make(tmp_path, one, other, row(2, split="val"), row(4)))
    assert [(s.group_id, s.splits, s.rows, s.flagged) for s in found] == [("g", ("test", "train"), 2, False)]


def test_doubles_missing_unknown_and_repeated_are_found(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", "stray.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "000.png").write_bytes(b"x")
    manifest = make(
        tmp_path,
        row(0, sha256="a"),
        row(1, sha256="a"),
        row(2),
        row(2),
        row(7, relpath="frames", media_type="frame_seq"),
    )
    assert checks.duplicates(manifest) == [("d/0", "d/1")]
    assert checks.repeated_ids(manifest) == ["d/2"]
    assert list(checks.missing(manifest)) == ["d: 2.png", "d: 2.png"]
    assert list(checks.unknown(manifest)) == [str(tmp_path / "stray.png")]


def test_filtering_keeps_order_and_roots(tmp_path: Path) -> None:
    manifest = make(tmp_path, *(row(n) for n in range(10)))
    kept = edit.keep(manifest, "label = 1 AND item_id > 'd/3'", tmp_path / "kept.parquet")
    assert [r.item_id for r in kept] == ["d/5", "d/7", "d/9"]
    assert kept.roots == manifest.roots


@pytest.mark.parametrize(
    ("condition", "why"),
    [("nope = 1", "nope"), ("1=0) UNION SELECT * FROM read_csv('/etc/passwd'", "disabled"), ("label = 5", "no row")],
)
def test_a_condition_that_is_none_is_refused_and_reads_no_other_file(tmp_path: Path, condition: str, why: str) -> None:
    manifest = make(tmp_path, row(0))
    with pytest.raises(UnmaskError, match=why):
        edit.keep(manifest, condition, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_joining_refuses_two_roots_and_repeated_ids(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    one, two = make(tmp_path / "a", row(0)), write(tmp_path / "b" / "m.parquet", [row(1)], tmp_path / "a")
    joined = edit.join([one, two], tmp_path / "j.parquet")
    assert [r.item_id for r in joined] == ["d/0", "d/1"]
    assert joined.file("d", "0.png") == tmp_path / "a" / "0.png"
    with pytest.raises(UnmaskError, match="one root"):
        edit.join([one, make(tmp_path / "c", row(2))], tmp_path / "k.parquet")
    with pytest.raises(UnmaskError, match="d/0"):
        edit.join([one, one], tmp_path / "k.parquet")
    assert not (tmp_path / "k.parquet").exists()


def test_a_derived_split_never_parts_a_group_and_keeps_what_is_official(tmp_path: Path) -> None:
    rows = [row(n, group_id=f"g{n // 4}") for n in range(400)]
    official = [row(n, group_id=f"g{n // 4}", split="test", split_source="list.txt") for n in range(1000, 1008)]
    late = row(2000, group_id="g250")  # shares a face with an official test row
    cut = edit.split(make(tmp_path, *rows, *official, late), tmp_path / "s.parquet")
    assert checks.straddlers(cut) == []
    by_id = {r.item_id: r for r in cut}
    assert by_id["d/1000"].split_source == "list.txt"
    assert (by_id["d/2000"].split, by_id["d/2000"].split_source) == ("test", "derived")
    assert {r.split for r in cut} == {"train", "val", "test"}


def test_validation_is_taken_from_whole_training_groups_where_a_set_has_none(tmp_path: Path) -> None:
    rows = [row(n, group_id=f"g{n // 4}", split="train", split_source="list.txt") for n in range(400)]
    tests = [row(n, group_id=f"g{n}", split="test", split_source="list.txt") for n in range(400, 420)]
    cut = list(edit.split(make(tmp_path, *rows, *tests), tmp_path / "s.parquet", 0.8, 0.2))
    assert checks.straddlers(Manifest(tmp_path / "s.parquet")) == []
    share = sum(r.split == "val" for r in cut) / 400
    assert 0.1 < share < 0.3
    assert all(r.split == "test" for r in cut[400:])


def test_the_check_exits_with_1_and_names_the_fault(tmp_path: Path) -> None:
    one, other = row(0, split="train", group_id="g"), row(1, split="test", group_id="g")
    make(tmp_path, one, other)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "m.parquet"), "--no-files"])
    assert result.exit_code == 1
    assert "g: test, train, 2 rows" in result.output
    make(tmp_path, one, row(1, split="train"))
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "m.parquet"), "--no-files"])
    assert (result.exit_code, result.output) == (0, "2 rows, nothing wrong\n")
