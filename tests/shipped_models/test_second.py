"""The release 2's last step: from a run to the bundle that a scan loads, in miniature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnxscript")

import unmask  # noqa: E402
from tests.data.crops import face, picture  # noqa: E402
from tests.train.faces import recipe  # noqa: E402
from training import recalibrate, second  # noqa: E402
from training.stills import stills  # noqa: E402
from unmask.bundles import Scorer, read  # noqa: E402
from unmask.data.loader import FaceSet  # noqa: E402
from unmask.data.manifest import FaceRow, Manifest, Writer, write  # noqa: E402
from unmask.detectors.mobilenet import MobileNet  # noqa: E402
from unmask.train.loop import train  # noqa: E402
from unmask.types import InputSpec, UnmaskError  # noqa: E402

SETS, SIZE = ("dfdc_faces224", "lfw_deepfunneled"), 64


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    rows = []
    for n in range(24):
        about: dict[str, Any] = {"size": SIZE, "margin": 1.3, "split": ("train", "train", "val")[n % 3]}
        rows.append(face(f"p{n}", 0, 0, **about, dataset=SETS[n % 2]))
        if n % 2 == 0:
            rows.append(face(f"swap{n}", 0, 1, source=f"p{n}", method="swap", **about, dataset=SETS[0]))
    for row in rows:
        (tmp_path / row.relpath).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / row.relpath), picture(row.relpath, SIZE) // 4 + (150 if row.label else 0))
    return write(tmp_path / "faces.parquet", rows, dict.fromkeys(SETS, tmp_path), FaceRow).path


def test_a_run_becomes_a_bundle_that_knows_what_is_near(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Path(unmask.__file__).parent / "bundles/embedded/model.safetensors"
    changes: dict[str, Any] = {
        "method": "mobilenet",
        "options": {"size": SIZE},
        "length": "16 steps",
        "validate": "8 steps",
        "batch": 8,
    }
    train(recipe(**changes, start=str(first)), faces, tmp_path / "run", cpu=True)
    asked = ["--first", str(first), "--data", str(faces), "--development", str(judging(faces))]
    monkeypatch.setattr("sys.argv", ["second", str(tmp_path / "run"), *asked])
    second.main()
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [c.strip() for c in table[0]] == ["share", "swap", "mean"]
    reached = {float(row[0]): float(row[-1]) for row in table[2:]}
    assert tuple(reached) == second.SHARES
    bundle = read(tmp_path / "run" / "bundle")
    card = bundle.card
    assert (card.name, card.input.size, card.options) == ("unmask-embedded-2", SIZE, {"size": SIZE})
    assert card.recipe["sampler"]["name"] == "paired"
    assert reached[card.recipe["share"]] == max(reached.values())
    assert card.calibration is not None
    assert "8 stills" in card.calibration.data  # of the validation part, and of DFDC alone
    assert (len(card.calibration.real), len(card.calibration.fake)) == (8, 4)  # but real ones of all sets
    held = stills(faces, "val", card.input, SETS)
    found = [Scorer(bundle, runtime).read(held.pixels) for runtime in ("onnx", "torch")]
    assert (found[0].features_distance > 0).all()
    np.testing.assert_allclose(found[0].logits, found[1].logits, atol=0.02)

    # calibrated anew on the same crops, it is the same bundle, which says so
    monkeypatch.setattr(
        "sys.argv", ["again", str(tmp_path / "run" / "bundle"), "--data", str(faces), "--out", str(tmp_path)]
    )
    recalibrate.main()
    again = read(tmp_path / "bundle")
    assert again.card.calibration == card.calibration
    assert again.card.recipe == {**card.recipe, "calibrated_on": Manifest(faces).digest}
    np.testing.assert_allclose(Scorer(again, "onnx").logits(held.pixels), found[0].logits, atol=1e-5)


def test_only_the_second_edition_is_calibrated_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(Path(unmask.__file__).parent / "bundles/embedded", tmp_path / "other")
    card = json.loads((tmp_path / "other" / "card.json").read_text())
    (tmp_path / "other" / "card.json").write_text(json.dumps(card | {"name": "unmask-embedded-1"}))
    monkeypatch.setattr("sys.argv", ["again", str(tmp_path / "other"), "--data", "none", "--out", str(tmp_path)])
    with pytest.raises(UnmaskError, match="holds unmask-embedded-1"):
        recalibrate.main()


def judging(faces: Path) -> Path:
    """The validation people again, as the part to choose by."""
    manifest = Manifest(faces)
    held = manifest.table(list(manifest.arrow_schema.names))
    held = held.filter(pc.equal(held["split"], "val"))
    test = pa.array(["test"] * len(held), pa.string())
    with Writer(faces.with_name("development.parquet"), manifest.roots, FaceRow) as out:
        out.add_table(held.set_column(held.column_names.index("split"), "split", test))
    return faces.with_name("development.parquet")


def test_weights_between_two_are_theirs_at_the_ends() -> None:
    detector = MobileNet(size=32).eval()
    first = {k: torch.zeros_like(v) for k, v in detector.state_dict().items()}
    for share in (0.0, 0.25, 1.0):
        got = second.between(first, detector, share).state_dict()
        assert all(torch.allclose(got[k], v * share) for k, v in detector.state_dict().items() if v.is_floating_point())


def test_a_forgery_is_asked_about_beside_its_originals_or_beside_its_data_set(faces: Path) -> None:
    found = second.questions(held := FaceSet(faces, InputSpec(size=32, margin=1.3)))
    rows = found["swap"]
    assert held.label[rows].tolist() == [0] * 12 + [1] * 12
    assert set(held.pair[rows[12:]]) == set(rows[:12].tolist())
    held.pair[:] = -1
    assert set(second.questions(held)["swap"]) == set(rows)  # all twelve real ones of that data set


def test_stills_are_those_asked_for(faces: Path) -> None:
    spec = InputSpec(size=32, margin=1.3)
    found = stills(faces, "train", spec, SETS[1:])
    assert found.pixels.shape == (8, 32, 32, 3)
    assert not found.label.any()
    assert len(set(found.groups)) == 8
    with pytest.raises(UnmaskError, match="no crops of celeb, test"):
        stills(faces, "test", spec, ("celeb",))
