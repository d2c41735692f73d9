"""`unmask eval robustness` and `fairness` end to end, on images drawn here: patterns with a place called a face."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.bench.scoring import chosen, crops_of
from unmask.data.extraction import Job
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.data.media_faces import Options
from unmask.faces import align

RUNNER = CliRunner()
MATRIX = np.array([[0.25, 0, -5], [0, 0.25, -5]], np.float32)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise is real, smoothed noise is fake; one more row has no crop. People "a" and "b"."""
    folder = tmp_path_factory.mktemp("stress")
    rng, rows = np.random.default_rng(0), []
    for split, many in (("train", 8), ("val", 8), ("test", 10)):
        for i in range(many):
            real = rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)
            fake = np.asarray(Image.fromarray(real).resize((150, 150)).resize((300, 300)))
            for label, picture in enumerate((real, fake)):
                name = f"{split}-{i}-{label}"
                Image.fromarray(picture).save(folder / f"{name}.png")
                Image.fromarray(align(picture, MATRIX, 64)).save(folder / f"crop-{name}.png")
                rows.append(row(name, label, split, f"{split}{i}", f"{split}-{i}-0", i))
    rows.append(row("test-0-9", 1, "test", "test0", "test-0-0", 0, "no face"))
    Image.fromarray(real).save(folder / "test-0-9.png")
    job = Job(options=Options(size=64), face_detector="f" * 64, source="s" * 64, roots={"made": str(folder)})
    (folder / "job.json").write_text(job.model_dump_json())
    write(folder / "faces.parquet", rows, folder, FaceRow)
    return folder / "faces.parquet"


def row(name: str, label: int, split: str, group: str, pair: str, i: int, reason: str = "") -> FaceRow:
    cut = {"box": (20, 20, 276, 276), "matrix": tuple(MATRIX.ravel().tolist()), "relpath": f"crop-{name}.png"}
    return FaceRow.model_validate(
        {
            "dataset": "made", "item_id": f"{name}#0.0", "media_id": name, "frame": 0, "t": 0.0, "label": label,
            "group_id": group, "split": split, "pair_key": pair, "size": 64, "margin": 1.3, "template": "gend5",
            "demographics": {"sex": "a" if i % 2 else "b"}, "extra": {"media_relpath": f"{name}.png"},
            "reason": reason, **({"relpath": ""} if reason else cut),
        }
    )  # fmt: skip


def unmask(*words: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, list(words), env={"COLUMNS": "250", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def run(faces: Path) -> Path:
    out = faces.parent / "out"
    code, said = unmask(
        "eval",
        "robustness",
        str(faces),
        "--detectors",
        "spectrum",
        "--preset",
        "imaginet-social-v1",
        "--rounds",
        "100",
        "-o",
        str(out),
    )
    assert code == 0, said
    return out


def test_the_clean_level_is_the_stored_crops_own_score(run: Path, faces: Path) -> None:
    from unmask.bench.scorers import Sides, SpectrumBaseline

    manifest = Manifest(faces)
    table = manifest.table(list(manifest.arrow_schema.names))
    split = np.array(table["split"].to_pylist())
    rows = [r for r in chosen(manifest, lambda _: split == "test") if not r["reason"]]
    scorer = SpectrumBaseline(manifest, table).fit(Sides(split == "train", split == "val"))[0].scorer
    expected = dict(zip([r["item_id"] for r in rows], scorer(list(crops_of(manifest, rows)), rows)[0], strict=True))
    clean = []
    for path in (run / "scores").glob("*.parquet"):
        found = pq.read_table(path).to_pylist()
        scored = {r["item_id"]: r["score"] for r in found if r["score"] is not None}
        clean.append(scored.keys() == expected.keys() and all(abs(scored[k] - v) < 1e-9 for k, v in expected.items()))
    assert sum(clean) == 1


def test_curves_fall_and_the_lost_row_counts(run: Path) -> None:
    found = json.loads((run / "result.json").read_text())
    (suite,) = found["suites"]
    at = {(n["kind"], n["level"], n["metric"]): n["value"] for n in suite["numbers"]}
    assert at["clean", "0", "auroc"] == 1.0
    assert at["clean", "0", "lost_fake"] == pytest.approx(1 / 11)
    assert at["clean", "0", "end_to_end"] == pytest.approx(0.5 + 0.5 * 10 / 11)
    assert at["imaginet_social", "1", "end_to_end"] <= at["clean", "0", "end_to_end"]
    assert "imaginet_social" in (run / "table.md").read_text()
    assert (run / "severity-0.png").is_file()
    assert found["codec"] == ""  # no codec in this preset, so none is named


def test_the_rebuild_line_gives_the_same_numbers_and_refuses_other_data(run: Path, faces: Path) -> None:
    words = shlex.split(json.loads((run / "result.json").read_text())["rebuild"])[1:]
    words[words.index("faces.parquet")] = str(faces)
    before = (run / "numbers.csv").read_text()
    words[words.index("-o") + 1] = str(run)
    assert unmask(*words, "-q")[0] == 0
    assert (run / "numbers.csv").read_text() == before
    words[words.index("--expect-data") + 1] = "0" * 64
    code, said = unmask(*words)
    assert code == 2
    assert "expected 000" in said


def test_fairness_needs_people_and_says_what_chance_could_make(faces: Path) -> None:
    out = faces.parent / "fair"
    common = [
        "eval",
        "fairness",
        str(faces),
        "--by",
        "sex",
        "--detectors",
        "spectrum",
        "--rounds",
        "100",
        "-o",
        str(out),
    ]
    code, said = unmask(*common)
    assert code == 2
    assert "insufficient data" in said
    code, said = unmask(*common, "--min", "2", "--policies", "one")
    assert code == 0, said
    assert "No evidence that false alarms differ" in said
    assert "| a | 10 |" in (out / "table.md").read_text()


def test_unknown_names_are_one_line(faces: Path) -> None:
    code, said = unmask("eval", "robustness", str(faces), "--preset", "fog", "-o", str(faces.parent / "x"))
    assert code == 2
    assert "no preset 'fog'" in said
