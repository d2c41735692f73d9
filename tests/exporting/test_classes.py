"""From a run of the task `classification` to a bundle that names classes, and what is measured of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.data.crops import face
from unmask.app.cli import app
from unmask.bench.attribution import evaluate_classes
from unmask.bench.evaluate import evaluate
from unmask.bundles import load, read_card
from unmask.bundles.classes import class_sets
from unmask.data.manifest import FaceRow, write
from unmask.errors import BundleError
from unmask.exporting.bundle import export
from unmask.tasks.recipe import Recipe
from unmask.train.loop import train

pytestmark = pytest.mark.usefixtures("one_thread")
COLOURS = {"real": (60, 60, 60), "swap": (220, 40, 40), "edit": (40, 220, 40), "new": (40, 40, 220)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat faces in a colour of what made them; validation and test hold a method that training does not."""
    root, found = tmp_path_factory.mktemp("made"), []
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in [k for k in COLOURS if split != "train" or k != "new"]:
            for n in range(12):
                about: dict[str, Any] = {"size": 32, "margin": 1.3, "split": split}
                about |= {"method": "" if kind == "real" else kind, "identity": f"p{n % 2}"}
                row = face(f"{split}-{kind}-{n}", 0, int(kind != "real"), **about)
                path = root / row.relpath
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.array(COLOURS[kind]) + rng.integers(-20, 20, (32, 32, 3))
                cv2.imwrite(str(path), pixels.clip(0, 255).astype(np.uint8)[..., ::-1])
                found.append(row)
    return write(root / "faces.parquet", found, {"d": root}, FaceRow).path


def trained(data: Path, out: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "task": "classification",
        "name": "classes",
        "method": "resnet34",
        "options": {"network": "tiny-resnet", "size": 32},
        "batch": 6,
        "sampler": {"name": "by_class"},
        "length": "8 epochs",
        "optimizer": {"lr": 3e-3},
        "validate": "8 epochs",
    }
    train(Recipe.model_validate(values | changes), data, out, cpu=True)
    return out


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    _, parity = export(trained(data, folder / "run"), data, folder / "bundle")
    assert parity.worst <= parity.bound
    return folder / "bundle"


def test_its_card_holds_both_calibrations(bundle: Path) -> None:
    card = read_card(bundle / "card.json")
    assert card.classes == ("edit", "real", "swap")
    assert card.calibration is not None  # "real" is a class: it has P(fake) too
    assert card.class_calibration is not None
    assert card.class_calibration.kind == "method"
    assert [len(row) for row in card.class_calibration.strangeness] == [12, 12, 12]
    assert {"accuracy", "open-set AUROC"} <= {m.name for m in card.metrics}
    assert all("validation" in m.seen for m in card.metrics)


def test_the_bundle_and_its_run_are_measured_alike(bundle: Path, data: Path) -> None:
    of_bundle = evaluate_classes(str(bundle), data)
    of_run = evaluate_classes(str(bundle.parent / "run"), data)
    for one, other in zip(of_bundle.numbers, of_run.numbers, strict=True):
        assert one.found.value == pytest.approx(other.found.value, abs=1e-6)
    values = {one.name: one.found.value for one in of_bundle.numbers}
    assert values["accuracy"] > 0.6  # 1/3 by chance
    assert {"open-set AUROC", "OSCR", "NMI", "ARI", "Hungarian accuracy"} <= values.keys()
    assert [(c.name, c.known, c.n) for c in of_bundle.by_class] == [
        ("edit", True, 12), ("real", True, 12), ("swap", True, 12), ("new", False, 12),
    ]  # fmt: skip
    assert of_run.error_rate is None
    assert evaluate(str(bundle), data).cells[0][1].value is not None  # real from fake, as any detector


def test_the_command_prints_and_refuses(bundle: Path, data: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "attribution", str(bundle), str(data), "--json", "-q"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["kind"] == "method"
    assert said["rows"] == 48
    done = CliRunner().invoke(app, ["eval", "attribution", str(bundle), str(data), "-q"])
    assert "new (unknown)" in done.output
    done = CliRunner().invoke(app, ["eval", "attribution", "embedded", str(data), "-q"])
    assert done.exit_code == 2
    assert "tells real from fake and nothing else" in done.output


@pytest.mark.slow
def test_attacks_are_counted_by_the_standard(data: Path, tmp_path: Path) -> None:
    export(trained(data, tmp_path / "run", label="attack"), data, tmp_path / "bundle")
    names = [one.name for one in evaluate_classes(str(tmp_path / "bundle"), data).numbers]
    attacks = ["APCER edit", "APCER new", "APCER swap"]
    assert names == ["APCER (worst type)", *attacks, "BPCER", "ACER", "HTER"]


@pytest.mark.slow
def test_people_are_classes_and_none_of_them_is_real(data: Path, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "run", label="identity", length="1 epochs", validate="1 epochs")
    export(run, data, tmp_path / "bundle")
    card = read_card(tmp_path / "bundle/card.json")
    assert (card.classes, card.calibration) == (("d/p0", "d/p1"), None)
    with pytest.raises(BundleError, match="hold no 'real'"):
        evaluate(str(tmp_path / "bundle"), data)
    done = CliRunner().invoke(app, ["eval", "evaluate", str(tmp_path / "bundle"), str(data), "-q"])
    assert done.exit_code == 0, done.output
    assert "2 classes apart by identity" in done.output


def test_a_set_misses_its_class_no_more_often_than_promised(bundle: Path) -> None:
    """Of exchangeable items: those that it was fitted on, so that the share is at most the error rate."""
    scorer = load(str(bundle))
    calibration = scorer.card.class_calibration
    assert calibration is not None
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 3)).astype(np.float32)
    for rate in (0.1, 0.3):
        narrow, wide = class_sets(calibration, logits, rate), class_sets(calibration, logits, rate / 2)
        assert (narrow <= wide).all()  # a smaller error rate never leaves out more
