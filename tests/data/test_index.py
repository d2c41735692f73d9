"""`unmask index`: from a folder to a manifest and a report of what could not be placed."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.data import survey
from unmask.data.index import index
from unmask.data.manifest import Manifest
from unmask.nouns import UnmaskError


def test_the_collection_has_the_counts_its_card_names(shared_data: Path, tmp_path: Path) -> None:
    found = index("collection", shared_data, tmp_path / "m.parquet")
    assert (len(found.manifest), found.problems, found.short) == (18_553, {}, {})
    assert survey.straddlers(found.manifest) == []
    flags = Counter(flag for row in found.manifest for flag in row.flags)
    assert flags["duplicate"] == 4
    with (shared_data / "dfdc_faces224" / "pairs.csv").open(newline="") as file:
        crossing = sum(p["split"] == "train" and p["cross_flag"] == "1" for p in csv.DictReader(file))
    assert flags["resembles-held-out"] == crossing > 0
    pairs = [r.pair_key for r in found.manifest if r.dataset == "dfdc_faces224"]
    assert set(Counter(pairs).values()) == {2}  # each real with its own fake


def test_an_unknown_layout_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="did you mean 'collection'"):
        index("colection", tmp_path, tmp_path / "m.parquet")


def test_a_wrong_root_leaves_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="does not exist"):
        index("folder", tmp_path / "none", tmp_path / "m.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnmaskError, match="is it the root"):
        index("folder", tmp_path / "empty", tmp_path / "m.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_a_folder_is_indexed_with_hashes_and_a_report(tmp_path: Path) -> None:
    for path, content in (("real/a.png", b"1"), ("fake/swap/b.png", b"1"), ("fake/c.png", b""), ("real/x.txt", b"2")):
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(content)
    arguments = ["index", "folder", str(tmp_path / "set"), "-o", str(tmp_path / "m.parquet"), "--hash", "--strict"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output  # strict: one file is empty
    assert {(r.relpath, r.label) for r in Manifest(tmp_path / "m.parquet")} == {
        ("real/a.png", 0),
        ("fake/swap/b.png", 1),
    }
    assert len(survey.doubles(Manifest(tmp_path / "m.parquet"))) == 1
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert {p["relpath"]: p["what"] for p in report["listed"]}["fake/c.png"] == "empty"
