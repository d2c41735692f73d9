"""The manifest: what is written comes back, streamed, and what does not fit is named."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unmask.data.manifest import GROUP, FaceRow, Manifest, Row, derived_split, write
from unmask.types import UnmaskError


def row(n: int, **changes: object) -> Row:
    values = {"dataset": "d", "item_id": f"d/{n}", "relpath": f"real/{n}.png", "label": 0, "group_id": f"g{n}"}
    return Row.model_validate(values | changes)


def test_every_field_comes_back(tmp_path: Path) -> None:
    full = row(
        1,
        demographics={"sex": "F"},
        segments=((0.5, 1.25),),
        perturbations=("CS:2", "GB:1"),
        extra={"k": "v"},
        split="val",
        audio_label=1,
        bytes=12,
    )
    assert list(write(tmp_path / "m.parquet", [full, row(2, label=None)], {"d": tmp_path})) == [
        full,
        row(2, label=None),
    ]
    face = FaceRow(
        **full.model_dump(), media_id="d/1", frame=3, t=0.12, box=(1, 2, 3, 4), points=tuple(range(10)), score=0.5
    )
    assert list(write(tmp_path / "f.parquet", [face], {"d": tmp_path}, FaceRow)) == [face]


def test_it_is_read_in_row_groups(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.parquet", (row(n) for n in range(GROUP + 5)), {"d": tmp_path})
    assert [batch.num_rows for batch in manifest.tables(["label"])] == [GROUP, 5]
    assert len(manifest) == GROUP + 5


def test_a_moved_folder_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "m.parquet", [row(1)], {"d": tmp_path / "a" / "files"})
    (tmp_path / "a").rename(tmp_path / "b")
    assert Manifest(tmp_path / "b" / "m.parquet").file("d", "x.png") == tmp_path / "b" / "files" / "x.png"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a\0b"])
def test_no_row_leads_out_of_its_root(tmp_path: Path, path: str) -> None:
    manifest = write(tmp_path / "m.parquet", [row(1)], {"d": tmp_path})
    with pytest.raises(UnmaskError, match="below the root"):
        manifest.file("d", path)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "m.parquet", [row(1)], {"d": tmp_path})

    def rows() -> Iterator[Row]:
        yield row(2)
        raise UnmaskError("the disk is gone")

    with pytest.raises(UnmaskError, match="gone"):
        write(tmp_path / "m.parquet", rows(), {"d": tmp_path})
    assert [r.item_id for r in Manifest(tmp_path / "m.parquet")] == ["d/1"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.parquet"]


def test_the_digest_is_of_the_rows_not_of_their_order(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", [row(1), row(2)], {"d": tmp_path}).digest
    assert one == write(tmp_path / "2.parquet", [row(2), row(1)], {"d": tmp_path}).digest
    assert one != write(tmp_path / "3.parquet", [row(1, label=1), row(2)], {"d": tmp_path}).digest


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PAR1 not really PAR1")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    for name, why in (("x", "not a manifest"), ("other.parquet", "no unmask.manifest/1"), ("none", "not a manifest")):
        with pytest.raises(UnmaskError, match=why):
            Manifest(tmp_path / name)


def test_a_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    good = write(tmp_path / "m.parquet", [row(1), row(2)], {"d": tmp_path})
    table = pq.read_table(good.path)
    bad = table.set_column(table.column_names.index("label"), "label", pa.array([0, 7], pa.int8()))
    pq.write_table(bad.replace_schema_metadata(pq.read_metadata(good.path).metadata), tmp_path / "bad.parquet")
    with pytest.raises(UnmaskError, match=r"row 1: .*label"):
        list(Manifest(tmp_path / "bad.parquet"))


def test_derived_splits_hold_their_shares() -> None:
    splits = [derived_split(f"g{n}") for n in range(20_000)]
    assert splits.count("train") / 20_000 == pytest.approx(0.6, abs=0.02)
    assert splits.count("val") / 20_000 == pytest.approx(0.15, abs=0.02)
