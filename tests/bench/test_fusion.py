"""`unmask eval fuse`: matched rows, what is refused, and the file that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.bench import score_files
from unmask.bundles import load
from unmask.bundles.fusion import read
from unmask.data.manifest import FaceRow, write
from unmask.errors import InputError

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unmask.bench.fusion.ROUNDS", 100)


def lay(folder: Path, split: str = "test", first: int = 0, dataset: str = "made", pixels: bool = False) -> Path:
    """16 people, for each two real crops and two forged ones of two methods."""
    rows, rng = [], np.random.default_rng(first)
    for person in range(first, first + 16):
        for method in ("", "", "swap", "blend"):
            name = f"{person}-{len(rows)}"
            if pixels:
                Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(folder / f"{name}.png")
            values = {"dataset": dataset, "item_id": f"{name}#0", "media_id": name, "relpath": f"{name}.png", "t": 0.0}
            values |= {"frame": 0, "label": int(bool(method)), "method": method, "group_id": f"p{person}"}
            values |= {"split": split, "size": 64, "margin": 1.3, "template": "gend5"}
            rows.append(FaceRow.model_validate(values))
    write(folder / f"{split}{first}.parquet", rows, folder, FaceRow)
    return folder / f"{split}{first}.parquet"


def score(folder: Path, manifest: Path, name: str, seed: int, by: str = "media_id", without: int = 0) -> Path:
    """A file of scores one standard deviation apart, without its first rows."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    rows = pq.read_table(manifest).to_pylist()
    column = {"media_id": "media_id", "item_id": "item_id", "file": "relpath"}[by]
    lines = [f"{row[column]},{2 * row['label'] - 1 + 2 * rng.normal():.6f}" for row in rows][without:]
    (folder / f"{name}.csv").write_text("\n".join([f"{by},logit", *lines]) + "\n")
    return folder / f"{name}.csv"


def fuse(*words: object) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["eval", "fuse", *map(str, words), "-q"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    return done.exit_code, " ".join(done.output.split())


def test_two_files_and_a_test_on_other_people(tmp_path: Path) -> None:
    manifest = lay(tmp_path)
    one = score(tmp_path, manifest, "one", 1)
    two = score(tmp_path, manifest, "two", 2, by="file", without=3)
    out = tmp_path / "fusion.json"
    code, said = fuse(manifest, "--scores", one, "--scores", two, "-o", out, "--unseen-methods", "--json")
    assert code == 0, said
    found = json.loads(said)
    assert (found["real"], found["fake"], found["groups"], found["left_out"]) == (30, 31, 16, 3)
    fused = found["rows"][-1]
    assert fused["name"] == "fusion"
    assert fused["auroc"]["low"] < fused["auroc"]["value"] < fused["auroc"]["high"]
    file = read(out)[0]
    assert [c.name for c in file.columns] == ["one", "two"]
    assert all(c.weight > 0 for c in file.columns)
    assert len(file.groups) == 16
    assert len(file.calibration.real) == 30

    code, said = fuse(manifest, "--scores", one, "--scores", two, "--use", out)
    assert code == 2
    assert "16 leakage groups" in said
    other = lay(tmp_path, first=100)
    files = [score(tmp_path, other, name, seed) for name, seed in (("one", 3), ("two", 4))]
    code, said = fuse(other, "--scores", files[0], "--scores", files[1], "--use", out)
    assert code == 0, said
    assert "32 real, 32 fake, 16 leakage groups" in said


def test_a_bundle_beside_a_file(tmp_path: Path) -> None:
    manifest = lay(tmp_path, pixels=True)
    theirs = score(tmp_path, manifest, "theirs", 1, by="item_id")
    out = tmp_path / "fusion.json"
    code, said = fuse(manifest, "--detectors", "embedded", "--scores", theirs, "-o", out, "--folds", 4)
    assert code == 0, said
    assert read(out)[0].columns[0].sha256 == load("embedded").weights_sha256


@pytest.mark.parametrize(
    ("split", "dataset", "refused"),
    [("train", "new", True), ("val", "dfdc_faces224", True), ("val", "dfdc", False), ("val", "new", False)],
)
def test_rows_that_a_detector_has_learnt_from_are_refused(
    tmp_path: Path, split: str, dataset: str, refused: bool
) -> None:
    manifest = lay(tmp_path, split, dataset=dataset)
    theirs = score(tmp_path, manifest, "theirs", 1)
    code, said = fuse(manifest, "--detectors", "embedded", "--scores", theirs, "--split", split)
    assert code == 2  # where they are not refused, the crops cannot be read: there are none
    assert ("may have been trained or calibrated on" in said) == refused


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file,logit\na,1\na,2\n", "line 3: 'a' comes twice"),
        ("file,probability\na,1.5\n", "outside 0..1"),
        ("file,logit\na,nan\n", "not finite"),
        ("file,logit\na,high\n", "no number"),
        ("name,logit\na,1\n", "exactly one of the columns item_id, media_id, file"),
        ("", "exactly one of the columns"),
    ],
)
def test_a_wrong_score_file_is_named_by_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        score_files.read(tmp_path / "s.csv")


def test_a_probability_becomes_a_logit(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("file,probability\na,0.8\nb,1\n")
    value = score_files.read(tmp_path / "s.csv").value
    assert value["a"] == pytest.approx(np.log(4))
    assert value["b"] == pytest.approx(np.log(1e6), abs=1e-5)
