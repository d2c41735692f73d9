"""A detector of videos through the whole way: trained on windows, exported, evaluated, and ready to scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.data.crops import face, picture
from unmask.bench.evaluate import evaluate
from unmask.bundles import load
from unmask.data.manifest import FaceRow, write
from unmask.errors import RecipeError
from unmask.exporting.bundle import export
from unmask.scanning.options import Options
from unmask.tasks.recipe import Recipe
from unmask.train.loop import train

SIZE, FRAMES = 32, 4


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each person's video and a forgery of it that flickers: two windows of four frames each."""
    root, rows = tmp_path_factory.mktemp("windows"), list[FaceRow]()
    for n in range(8):
        about: dict[str, Any] = {"size": SIZE, "margin": 1.3, "track": 0, "split": "val" if n >= 5 else "train"}
        for label, video in ((0, f"p{n}"), (1, f"swap{n}")):
            still = picture(video, SIZE) // 2 + 40
            for window in range(2):
                for i in range(FRAMES):
                    where = {"window": window, "window_index": i}
                    made = {"source": f"p{n}", "method": "swap"} if label else {}
                    row = face(video, 10 * window + i, label, **about, **where, **made)
                    path = root / row.relpath
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), still + 40 * (label * i % 2))
                    rows.append(row)
    return write(root / "faces.parquet", rows, {"d": root}, FaceRow).path


def recipe(**changes: Any) -> Recipe:
    options = {"network": "tiny-i3d", "size": SIZE, "frames": FRAMES, "dropout": 0}
    values: dict[str, Any] = {
        "name": "flicker", "method": "i3d", "options": options, "batch": 6, "length": "20 epochs",
        "optimizer": {"lr": 3e-3}, "sampler": {"name": "paired"}, "validate": "20 epochs",
    }  # fmt: skip
    return Recipe.model_validate(values | changes)


@pytest.mark.slow
def test_it_learns_flicker_and_its_bundle_says_the_same(windows: Path, tmp_path: Path) -> None:
    train(recipe(), windows, tmp_path / "run", cpu=True)
    by_run = {(level, c.metric): c for level, c in evaluate(str(tmp_path / "run"), windows, split="val").cells}
    assert by_run["video", "auroc"].value == 1.0
    assert (by_run["video", "auroc"].real, by_run["frame", "auroc"].real) == (3, 6)  # two windows of each video
    card, parity = export(tmp_path / "run", windows, tmp_path / "box")
    assert parity.worst <= parity.bound
    assert {m.level for m in card.metrics} == {"window", "video"}
    assert card.input.frames == FRAMES
    assert "12 windows" in ((card.calibration and card.calibration.data) or "")
    by_bundle = {(level, c.metric): c for level, c in evaluate(str(tmp_path / "box"), windows, split="val").cells}
    assert by_bundle["video", "auroc"].value == 1.0
    assert load(str(tmp_path / "box")).shape == (FRAMES, SIZE, SIZE, 3)
    assert Options(detector=str(tmp_path / "box")).ready().length == FRAMES


def test_forgeries_of_single_frames_are_no_windows(windows: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="i3d looks at windows of frames, and forge makes single ones"):
        train(recipe(forge={"sbi": 1}), windows, tmp_path / "run", cpu=True)
