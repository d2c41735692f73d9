"""`unmask eval coverage` on crops drawn here: the counts are those of a plain loop over the same scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.bench.scoring import score_faces
from unmask.bundles import load
from unmask.data.manifest import FaceRow, write

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 validation and 30 test images, two to a leakage group, half of them called fake."""
    folder = tmp_path_factory.mktemp("coverage")
    rng = np.random.default_rng(3)
    rows = []
    for split, count in (("val", 40), ("test", 30)):
        for i in range(count):
            name, side = f"{split}{i}", 4 + 6 * (i % 2)
            coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3)).astype(np.uint8))
            coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
            values = {"dataset": "made", "item_id": name, "media_id": name, "relpath": f"{name}.png", "frame": 0}
            values |= {"t": 0.0, "label": i % 2, "group_id": f"{split}{i // 2}", "split": split, "size": 64}
            rows.append(FaceRow.model_validate(values | {"margin": 1.3, "template": "gend5"}))
    write(folder / "faces.parquet", rows, folder, FaceRow)
    return folder / "faces.parquet"


def call(*words: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, ["eval", "coverage", *words], env={"COLUMNS": "250", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.mark.parametrize("within", ["label", "none"])
def test_the_truth_is_counted_as_a_loop_counts_it(faces: Path, within: str) -> None:
    code, said = call("embedded", str(faces), "--conditional-on", within, "--level", "0.8", "--json", "-q")
    assert code == 0, said
    found = {row["name"]: row for row in json.loads(said)["rows"]}
    table = score_faces(load("embedded"), faces).to_pylist()
    limit = {}
    for label in (0, 1):
        strange = [
            -r["score"] if r["label"] else r["score"]
            for r in table
            if r["split"] == "val" and (within == "none" or r["label"] == label)
        ]
        limit[label] = sorted(strange)[math.ceil((len(strange) + 1) * 0.8) - 1]
    for label, name in ((0, "real"), (1, "fake")):
        test = [r["score"] for r in table if r["split"] == "test" and r["label"] == label]
        hits = sum((-s if label else s) <= limit[label] for s in test)
        assert found[name]["n"] == len(test) == 15
        assert found[name]["exact"]["value"] == pytest.approx(hits / 15)
        assert found[name]["exact"]["low"] <= hits / 15 <= found[name]["exact"]["high"]
        # Two images of a group are of unlike classes here, so rows of a class are exchangeable: the promise holds.
        assert within == "none" or 0.77 < found[name]["dealt"] < 0.87
    assert found["all"]["groups"] == 15
    assert found["all"]["exact"]["value"] == pytest.approx(
        (found["real"]["exact"]["value"] + found["fake"]["exact"]["value"]) / 2
    )


def test_the_table_says_what_it_rests_on(faces: Path) -> None:
    code, said = call("embedded", str(faces))
    assert code == 0, said
    assert "fitted on 40 validation rows of 20 groups" in said
    assert f"Rebuild: unmask eval coverage embedded {faces.name}" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--conditional-on", "sex"), "no promise can be made within 'sex'"),
        (("--dataset", "other"), "no scored val rows"),
    ],
)
def test_what_cannot_be_promised_is_refused(faces: Path, words: tuple[str, str], why: str) -> None:
    code, said = call("embedded", str(faces), *words)
    assert code == 2
    assert why in said
