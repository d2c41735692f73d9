"""`unmask data forge`: a folder of marked, paired forgeries, the same bytes however it is made."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.portraits import PEOPLE, face, lay
from unmask.app.cli import app
from unmask.data import edit
from unmask.data.checks import straddlers
from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Manifest
from unmask.forging.contact_sheet import MARK
from unmask.forging.offline import Options, chosen, forge
from unmask.types import InputSpec, UnmaskError

BOTH = Options(generators={"sbi": {}, "faceswap": {}}, per_image=2, seed=5)


def files(folder: Path) -> dict[str, str]:
    """Every file's content by name."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("portraits")
    return Manifest(lay(root, hopper={"split": "val"}, hopper_mirrored={"split": "val"}))


@pytest.fixture(scope="module")
def made(source: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return forge(source, tmp_path_factory.mktemp("forged") / "out", BOTH)


def test_every_row_says_what_it_is_and_what_it_was_made_from(source: Manifest, made: Manifest) -> None:
    sources = {r.item_id: r for r in source}
    rows = [r for r in made if isinstance(r, FaceRow)]
    assert len(rows) == len(PEOPLE) * 2 * 2
    for row in rows:
        real = sources[row.extra["source"]]
        assert (row.label, row.family, row.dataset) == (1, "SBI", "forged")
        assert (row.split, row.group_id, row.pair_key) == (real.split, real.group_id, real.pair_key)
        assert row.method == row.extra["generator"]
        assert row.extra["seed"] == "5"
        if row.method == "faceswap":
            assert sources[row.extra["donor"]].split == row.split
            assert sources[row.extra["donor"]].group_id != row.group_id
            assert row.source_id == row.extra["donor"]


def test_files_are_lossless_and_say_that_they_are_synthetic(made: Manifest) -> None:
    for row in made:
        with Image.open(made.file("forged", row.relpath)) as picture:
            assert picture.format == "PNG"
            assert picture.text["Description"].startswith(MARK)  # type: ignore[attr-defined]
            forged = np.asarray(picture)
        mask = np.asarray(Image.open(made.file("forged", row.mask_relpath)))
        assert mask.shape == forged.shape[:2]
        real = face(row.extra["source"].removeprefix("portraits/").removesuffix("#0"))[0]
        changed = (forged != real).any(-1)
        assert changed.any()
        if row.method == "faceswap":
            assert not changed[mask == 0].any()
    assert MARK in Image.open(made.path.parent / "sheet.png").text["Description"]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_number_of_processes_and_order_change_no_byte(source: Manifest, made: Manifest, tmp_path: Path) -> None:
    forge(source, tmp_path / "two", BOTH, jobs=2)
    assert files(tmp_path / "two") == files(made.path.parent)


def test_a_forgery_does_not_depend_on_what_else_is_forged(source: Manifest, made: Manifest, tmp_path: Path) -> None:
    one = Options(generators={"faceswap": {}}, seed=5, splits=("val",))
    alone = {r.item_id: r.sha256 for r in forge(source, tmp_path / "one", one)}
    assert len(alone) == 2
    assert alone.items() < {r.item_id: r.sha256 for r in made}.items()
    other = {r.sha256 for r in forge(source, tmp_path / "other", one.model_copy(update={"seed": 6}))}
    assert other.isdisjoint(alone.values())


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_bytes(source: Manifest, made: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "unmask",
        "data",
        "forge",
        str(source.path),
        "-o",
        str(out),
        "--with",
        "sbi,faceswap",
    ]
    command += ["--per-image", "2", "--seed", "5", "--jobs", "1", "--quiet"]
    process = subprocess.Popen(command, env=os.environ.copy())
    journal, until = out / "journal.jsonl", time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if journal.exists() and journal.stat().st_size:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not (out / "faces.parquet").exists():  # else it was quicker than we, and there is nothing to go on with
        with journal.open("ab") as torn:
            torn.write(b'{"at":3,"rows":[{"item')
    assert forge(source, out, BOTH).digest == made.digest
    assert files(out) == files(made.path.parent)


def test_it_joins_its_source_and_trains_in_pairs(source: Manifest, made: Manifest, tmp_path: Path) -> None:
    joined = edit.join([source, made], tmp_path / "joined.parquet")
    assert not straddlers(joined)
    faces = FaceSet(joined.path, InputSpec(size=64))
    assert (faces.pair >= 0).all()
    forged = np.flatnonzero(faces.label == 1)
    assert len(forged) == 24
    assert (faces.label[faces.pair[forged]] == 0).all()
    assert (faces.group[faces.pair[forged]] == faces.group[forged]).all()


def test_another_wish_for_the_same_folder_is_refused(source: Manifest, made: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match=r"another wish \(seed differ"):
        forge(source, made.path.parent, BOTH.model_copy(update={"seed": 1}))
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UnmaskError, match="holds other files"):
        forge(source, tmp_path, BOTH)
    with pytest.raises(UnmaskError, match="choose another --name"):
        forge(source, tmp_path / "new", BOTH.model_copy(update={"name": "portraits"}))
    with pytest.raises(UnmaskError, match="no real crops"):
        forge(source, tmp_path / "new", BOTH.model_copy(update={"splits": ("test",)}))


def test_what_cannot_be_forged_has_a_row_that_says_why(tmp_path: Path) -> None:
    """One person alone in its split has nobody to swap with, and is self-blended all the same."""
    source = Manifest(lay(tmp_path / "faces", ("collins", "hopper"), hopper={"split": "val"}))
    rows = [r for r in forge(source, tmp_path / "out", BOTH) if isinstance(r, FaceRow)]
    gaps = [r for r in rows if r.reason]
    assert {r.method for r in gaps} == {"faceswap"}
    assert len(gaps) == 4
    assert all("nobody to swap with" in r.reason and not r.relpath for r in gaps)
    assert len(rows) == 8


def test_a_crop_that_is_gone_is_named(tmp_path: Path) -> None:
    source = Manifest(lay(tmp_path / "faces", ("collins", "hopper")))
    (tmp_path / "faces" / "hopper.png").unlink()
    with pytest.raises(UnmaskError, match=r"hopper\.png"):
        forge(source, tmp_path / "out", Options(generators={"sbi": {}}))
    lay(tmp_path / "faces", ("collins", "hopper"))  # back again, it goes on
    assert len(forge(source, tmp_path / "out", Options(generators={"sbi": {}}))) == 2


@pytest.mark.slow
def test_crops_that_end_their_process_are_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = Manifest(lay(tmp_path / "faces", ("collins", "hopper"))), Options(generators={"sbi": {}})
    with monkeypatch.context() as patch:
        patch.setattr("unmask.forging.offline.SECONDS", 0.0)
        with pytest.raises(UnmaskError, match=r"2 crops of .* ended their process"):
            forge(source, tmp_path / "out", asked)
    assert len(forge(source, tmp_path / "out", asked)) == 2


def test_the_command(tmp_path: Path) -> None:
    path, out = lay(tmp_path / "faces"), tmp_path / "out"
    asked = [
        "data",
        "forge",
        str(path),
        "-o",
        str(out),
        "--with",
        "faceswap",
        "--set",
        "faceswap.among=1",
        "--split",
        "train",
    ]
    result = CliRunner().invoke(app, [*asked, "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert "6 rows" in result.output
    assert json.loads((out / "job.json").read_text())["options"]["generators"] == {"faceswap": {"among": 1}}
    assert all("among" in r.extra["options"] for r in Manifest(out / "faces.parquet"))
    again = CliRunner().invoke(app, ["data", "forge", str(path), "-o", str(tmp_path / "new"), "--with", "faceswop"])
    assert again.exit_code == 2
    assert "did you mean 'faceswap'" in again.output


def test_options_of_generators() -> None:
    assert chosen(["sbi", "faceswap"], ["faceswap.seamless=0.5"]) == {"sbi": {}, "faceswap": {"seamless": 0.5}}
    for wrong in ("faceswap.seamles=1", "sbi.x=1", "faceswap=3", "fwa.a=1", "faceswap.seamless=[1"):
        with pytest.raises(UnmaskError):
            chosen(["sbi", "faceswap"], [wrong])


def test_methods_lists_generators_too() -> None:
    listed = CliRunner().invoke(app, ["methods"], terminal_width=200)
    assert "generator" in listed.output
    assert "faceswap" in listed.output
    one = CliRunner().invoke(app, ["methods", "faceswap"])
    assert "1901.08971" in one.output
