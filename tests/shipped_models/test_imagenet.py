"""ImageNet's weights as a recipe's start: the file fits, and the normalisation in it is that of the crops."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ai_edge_litert")

from tests.train.faces import lay, recipe  # noqa: E402
from training import imagenet  # noqa: E402
from unmask.train.loop import create  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402


def test_a_recipe_starts_from_imagenet(shared_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, out = lay(tmp_path / "faces"), tmp_path / "imagenet.safetensors"
    tflite = shared_weights / "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite"
    monkeypatch.setattr("sys.argv", ["imagenet", str(tflite), str(faces), "--size", "64", "-o", str(out)])
    imagenet.main()
    begun = create(recipe(method="mobilenet", options={"size": 64}, start=str(out)))
    other = create(recipe(method="mobilenet", options={"size": 64}))
    first, last = (next(m for m in d.body.modules() if isinstance(m, torch.nn.BatchNorm2d)) for d in (begun, other))
    assert float(first.running_var.std()) > 0
    assert float(last.running_var.std()) == 0
    assert begun.input.size == 64
    only = lay(tmp_path / "only", people=3, validation=3)
    with pytest.raises(UnmaskError, match="no crops of the training split"):
        imagenet.imagenet(tflite, only, 64)
