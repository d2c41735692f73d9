"""`unmask data index`: from a folder to a manifest and a report of what could not be placed."""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training import collection
from unmask.app.cli import app
from unmask.data import checks
from unmask.data.extraction import masked
from unmask.data.index import index
from unmask.data.manifest import Manifest
from unmask.types import UnmaskError


def test_the_collection_has_the_counts_its_card_names(shared_data: Path, tmp_path: Path) -> None:
    found = index(collection, shared_data, tmp_path / "m.parquet")
    assert (len(found.manifest), found.problems, found.short) == (18_553, {}, {})
    assert checks.straddlers(found.manifest) == []
    flags = Counter(flag for row in found.manifest for flag in row.flags)
    assert flags["duplicate"] == 4
    with (shared_data / "dfdc_faces224" / "pairs.csv").open(newline="") as file:
        crossing = sum(p["split"] == "train" and p["cross_flag"] == "1" for p in csv.DictReader(file))
    assert flags["resembles-held-out"] == crossing > 0
    pairs = [r.pair_key for r in found.manifest if r.dataset == "dfdc_faces224"]
    assert set(Counter(pairs).values()) == {2}  # each real with its own fake


def test_an_unknown_layout_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="did you mean 'folder'"):
        index("foldr", tmp_path, tmp_path / "m.parquet")


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
    arguments = [
        "data",
        "index",
        "folder",
        str(tmp_path / "set"),
        "-o",
        str(tmp_path / "m.parquet"),
        "--hash",
        "--strict",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output  # strict: one file is empty
    assert {(r.relpath, r.label) for r in Manifest(tmp_path / "m.parquet")} == {
        ("real/a.png", 0),
        ("fake/swap/b.png", 1),
    }
    assert len(checks.duplicates(Manifest(tmp_path / "m.parquet"))) == 1
    report = json.loads((tmp_path / "m.report.json").read_text())
    assert {p["relpath"]: p["what"] for p in report["listed"]}["fake/c.png"] == "empty"


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    for path in ("elsewhere/fake/swap/1.png", "set/real/1.png", "pool/2.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"1")
    links = {"fake": "../elsewhere/fake", "real/2.png": "../../pool/2.png", "real/up": "..", "real/x.png": "x.png"}
    for name, target in links.items():
        (tmp_path / "set" / name).symlink_to(target)
    (tmp_path / "elsewhere/fake/back").symlink_to(tmp_path / "set")  # each leads into the other
    (tmp_path / "set/real/gone.png").symlink_to("nowhere.png")
    found = index("folder", tmp_path / "set", tmp_path / "m.parquet", hashes=True)
    rows = {(r.relpath, r.label) for r in found.manifest}
    assert rows == {("real/1.png", 0), ("real/2.png", 0), ("fake/swap/1.png", 1)}
    listed = {p["relpath"]: p["why"] for p in json.loads(found.report.read_text())["listed"]}
    assert listed == {
        "fake/back": "a link back to a folder that it lies in",
        "real/up": "a link back to a folder that it lies in",
        "real/gone.png": "a link that leads nowhere",
        "real/x.png": "a link that leads nowhere",
    }


def test_two_linked_class_folders(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        (tmp_path / "disk" / label).mkdir(parents=True)
        (tmp_path / "disk" / label / "1.png").write_bytes(b"1")
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / label).symlink_to(tmp_path / "disk" / label)
    found = index("folder", tmp_path / "both", tmp_path / "m.parquet")
    assert sorted(r.label for r in found.manifest if r.label is not None) == [0, 1]
    assert found.problems == {}


def test_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    for name in (b"real/caf\xe9.png", b"real/a.png", b"fake/caf\xe9/b.png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/set/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    found = index("folder", tmp_path / "set", tmp_path / "m.parquet")
    assert [r.relpath for r in found.manifest] == ["real/a.png"]
    listed = {p["relpath"]: p["why"] for p in json.loads(found.report.read_text())["listed"]}
    assert listed == dict.fromkeys(("real/caf\\xe9.png", "fake/caf\\xe9"), "its name is not UTF-8; rename it")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    for name in ("real/a.png", "fake/b.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(b"1")
    (tmp_path / "set/fake").chmod(0)
    if os.access(tmp_path / "set/fake", os.R_OK):
        pytest.skip("root may read everything")
    found = index("folder", tmp_path / "set", tmp_path / "m.parquet")
    (tmp_path / "set/fake").chmod(0o755)
    assert found.problems == {"missing": 1}


def test_forgeries_without_a_mask_are_named(tmp_path: Path) -> None:
    swap = tmp_path / "ff/manipulated_sequences/Deepfakes"
    for path in ("c23/videos/071_054.mp4", "c23/videos/054_071.mp4", "masks/videos/071_054.mp4"):
        (swap / path).parent.mkdir(parents=True, exist_ok=True)
        (swap / path).write_bytes(b"1")
    other = tmp_path / "ff/manipulated_sequences/Face2Face/c23/videos/071_054.mp4"  # a method without any
    other.parent.mkdir(parents=True)
    other.write_bytes(b"1")
    found = index("faceforensics", tmp_path / "ff", tmp_path / "m.parquet")
    listed = [p for p in json.loads(found.report.read_text())["listed"] if "mask" in p["why"]]
    lacking = "manipulated_sequences/Deepfakes/c23/videos/054_071.mp4"
    assert [(p["relpath"], p["what"]) for p in listed] == [(lacking, "missing")]
    assert masked(found.manifest) == (1, 3)


def test_following_masks_that_are_not_there_is_refused(tmp_path: Path) -> None:
    for path in ("real/1.png", "fake/2.png"):
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(b"1")
    index("folder", tmp_path / "set", tmp_path / "m.parquet")
    result = CliRunner().invoke(
        app, ["data", "extract", str(tmp_path / "m.parquet"), "-o", str(tmp_path / "c"), "--mask"]
    )
    assert result.exit_code == 2
    assert "names a mask: leave out --mask" in result.stderr
