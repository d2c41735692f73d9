"""Weights that stay, calibrated anew on other crops, in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnxscript")

from tests.data.crops import face, picture  # noqa: E402
from tests.train.faces import recipe  # noqa: E402
from training.recalibrate import recalibrate  # noqa: E402
from training.stills import stills  # noqa: E402
from unmask.bundles import Scorer, read  # noqa: E402
from unmask.data.manifest import FaceRow, Manifest, write  # noqa: E402
from unmask.exporting.bundle import export  # noqa: E402
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


def test_the_weights_stay_and_the_card_is_fitted_again(faces: Path, tmp_path: Path) -> None:
    train(recipe(length="6 steps"), faces, tmp_path / "run", cpu=True)
    before, _ = export(tmp_path / "run", faces, tmp_path / "before", precision="fp16")
    card = recalibrate(tmp_path / "before", faces, tmp_path / "after")
    assert card.calibration is not None
    assert "8 frames, 4 groups" in card.calibration.data  # of the validation part, and of DFDC alone
    assert (len(card.calibration.real), len(card.calibration.fake)) == (8, 4)  # but real ones of all sets
    assert card.recipe == {**before.recipe, "calibrated_on": Manifest(faces).digest}
    assert card.ood_threshold is not None
    pixels = stills(faces, "val", card.input, SETS).pixels
    found = [Scorer(read(tmp_path / name)).read(pixels) for name in ("before", "after")]
    np.testing.assert_allclose(found[1].logits, found[0].logits, atol=1e-5)
    assert (found[1].features_distance > 0).all()


def test_stills_are_those_asked_for(faces: Path) -> None:
    spec = InputSpec(size=32, margin=1.3)
    found = stills(faces, "train", spec, SETS[1:])
    assert found.pixels.shape == (8, 32, 32, 3)
    assert not found.label.any()
    assert len(set(found.groups)) == 8
    with pytest.raises(UnmaskError, match="no crops of celeb, test"):
        stills(faces, "test", spec, ("celeb",))
