"""`unmask attack` and the protocol of attacks, on crops drawn here: patterns, no faces."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.bench.patterns import lay
from unmask.app.cli import app
from unmask.measure.tables import read

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(tmp_path_factory.mktemp("attacked"))


def unmask(*words: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, list(words), env={"COLUMNS": "250", "NO_COLOR": "1"})
    return result.exit_code, result.output


def fakes_mean(table: dict[str, list[float | None]]) -> float:
    """Of a table of scores; rows without a score are left out."""
    found = [s for s, y in zip(table["score"], table["label"], strict=True) if y == 1 and s is not None]
    return float(np.mean(found))


def test_the_table_the_pictures_and_the_rebuild_line(faces: Path) -> None:
    out = faces.parent / "attacked"
    words = ["--with", "fgsm,post_processing", "--set", "post_processing.operations=[jpeg]", "--items", "3"]
    code, said = unmask("attack", "embedded", str(faces), *words, "--budget", "0.02", "--save", "-o", str(out), "-q")
    assert code == 0, said
    result = json.loads((out / "result.json").read_text())
    assert {(r["attack"], r["group"]) for r in result["rows"]} >= {("fgsm", "all"), ("post_processing", "all")}
    fgsm = next(r for r in result["rows"] if r["attack"] == "fgsm")
    assert fgsm["auroc"] <= fgsm["clean_auroc"]  # the drawn faces are easy: one step turns none of them round
    assert fgsm["queries"] == 1
    assert "Rebuild" in (out / "table.md").read_text()

    lines = (out / "attacked-fgsm.csv").read_text().splitlines()
    kept = Image.open(out / lines[1].split(",")[0])
    assert "attacked image" in kept.info["unmask"]
    assert lines[1].split(",")[2] == "1"  # the label

    again = shlex.split(result["rebuild"])
    again[3], again[again.index("-o") + 1] = str(faces), str(faces.parent / "again")
    code, said = unmask(*again[1:], "-q")
    assert code == 0, said
    assert json.loads((faces.parent / "again" / "result.json").read_text())["rows"] == result["rows"]
    again[-1] = "0" * 64
    assert unmask(*again[1:])[0] == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--with", "pdg"], "did you mean"),
        (["--with", "pgd", "--set", "pgd.stps=3"], "did you mean"),
        (["--with", "pgd", "--budget", "much"], "2/255"),
        (["--with", "pgd", "--by", "datset"], "dataset"),
        (["--with", "pgd", "--set", "steps=3"], "pgd.steps=20"),
    ],
)
def test_what_cannot_be_asked(words: list[str], why: str, faces: Path) -> None:
    code, said = unmask("attack", "embedded", str(faces), *words, "-o", str(faces.parent / "no"))
    assert code == 2
    assert why in said


@pytest.mark.slow
def test_a_protocol_attacks_any_detector_by_its_scores(faces: Path, tmp_path: Path) -> None:
    protocol = tmp_path / "mine.yaml"
    protocol.write_text("name: mine\ntitle: Attacked\ncolumns: attack\nattacks: [post_processing@0.5]\n")
    code, said = unmask(
        "eval", "bench", str(protocol), str(faces), "--detectors", "spectrum", "-o", str(tmp_path), "-q"
    )
    assert code == 0, said
    result = read(tmp_path)
    assert result.columns == ("untouched", "post_processing@0.5")
    tables = [pq.read_table(path).to_pydict() for path in sorted((tmp_path / "scores").glob("*.parquet"))]
    before, after = sorted(tables[-2:], key=lambda t: -fakes_mean(t))
    assert fakes_mean(after) < fakes_mean(before)
    reals = [[s for s, y in zip(t["score"], t["label"], strict=True) if y == 0] for t in (before, after)]
    assert reals[0] == reals[1]  # reals stay as they are

    protocol.write_text("name: mine\ntitle: Attacked\ncolumns: attack\nattacks: [pgd@4/255]\n")
    code, said = unmask("eval", "bench", str(protocol), str(faces), "--detectors", "spectrum", "-o", str(tmp_path))
    assert code == 2
    assert "needs gradients" in said


def test_the_bundle_in_torch_is_the_bundle_in_onnx() -> None:
    torch = pytest.importorskip("torch")
    from unmask import load
    from unmask.base.white_box import white_box
    from unmask.bundles.calibration import log_odds

    crops = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8)
    scorer = load("embedded", runtime="onnx")
    image = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    found = white_box("embedded")(image)
    np.testing.assert_allclose(found[:, 1].numpy(), log_odds(scorer.logits(crops), scorer.card.classes), atol=2e-3)
    assert (found[:, 0] == 0).all()
