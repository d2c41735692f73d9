"""Every script of examples/ in a process of its own, on data made here."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from scanning.make import save, tinted, write_bundle
from tests.app.serve.process import serving
from tests.bench.patterns import lay

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *arguments: object, where: Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=where, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scan_a_folder(tmp_path: Path) -> None:
    said = run("scan_folder.py", ROOT / "samples", "--out", tmp_path, where=tmp_path)
    assert re.search(r"^fake +0\.8\d .*portrait-forged\.jpg", said, re.MULTILINE)
    assert re.search(r"^\w+ +- .*no-face\.jpg", said, re.MULTILINE)
    assert "Likely forged" in (tmp_path / "report.html").read_text("utf-8")
    assert len((tmp_path / "report.csv").read_text("utf-8").splitlines()) == 5


@pytest.mark.slow
def test_train_on_your_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    portrait = Image.fromarray(np.asarray(data.astronaut())).crop((60, 0, 380, 320))
    for n in range(24):
        for kind, shift in (("real", 0), ("fake/swap", 40)):
            pixels = np.asarray(portrait, np.int16) + int(rng.integers(-20, 20)) + np.array([shift, 0, 0])
            path = tmp_path / "mine" / kind / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    recipe = ROOT / "recipes/radial-spectrum-tiny.yaml"
    changes = ["length=20 steps", "validate=10 steps", "batch=8"]
    said = run("train_on_your_folders.py", "mine", "--recipe", recipe, *changes, where=tmp_path)
    assert "P(fake) differs by at most" in said
    assert "48 files" in said
    assert (tmp_path / "trained/bundle/model.onnx").is_file()


def test_bench_two_detectors(tmp_path: Path) -> None:
    manifest = lay(tmp_path)
    said = run("bench_two_detectors.py", manifest, "--out", tmp_path / "table", where=tmp_path)
    assert "made/smooth: embedded AUROC " in said
    assert "spectrum AUROC 1.000 (1.000 to 1.000)" in said
    assert "Rebuild: unmask eval bench cross-manipulation faces.parquet" in said
    assert (tmp_path / "table/table.md").is_file()


@pytest.mark.slow
def test_a_loss_without_the_framework(tmp_path: Path) -> None:
    said = run("loss_without_the_framework.py", "--steps", 60, where=tmp_path)
    before, after = (float(re.search(rf"{word}: ([\d.]+)", said)[1]) for word in ("before", "after"))  # type: ignore[index]
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", said)]
    assert losses[-1] < losses[0]
    assert after > before


def test_a_client_of_the_api(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    red = save(tinted(np.asarray(data.astronaut()), 0.2), tmp_path / "red.png")
    with serving(tmp_path / "data", bundle) as server:
        said = run("api_client.py", red, "--server", f"http://127.0.0.1:{server.port}", where=tmp_path)
    assert re.match(r".*red\.png: fake [01]\.\d\d \(0\.\d\d to [01]\.\d\d\)", said)


def test_notebooks_hold_the_code_of_their_scripts_and_its_output() -> None:
    """If not: python examples/make_notebooks.py"""
    made = runpy.run_path(str(ROOT / "examples/make_notebooks.py"))
    for name, words in made["SCRIPTS"].items():
        script = ROOT / "examples" / name
        found = json.loads((ROOT / "examples/notebooks" / name).with_suffix(".ipynb").read_text("utf-8"))
        shown = [word.format(scratch="scanned") for word in words]
        assert [c["source"] for c in found["cells"]] == [c["source"] for c in made["cells"](script, shown, "")]
        assert "".join(found["cells"][-1]["outputs"][0]["text"]).strip()
