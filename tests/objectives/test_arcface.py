"""ArcFace: its margin by hand, that it learns to tell unseen people apart, and that LSDA starts from its export."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.data.crops import face
from tests.train.runs import rows
from training.lsda_start import packed
from unmask.data.manifest import FaceRow, write
from unmask.detectors.lsda import LSDA
from unmask.exporting.encoder import export_encoder
from unmask.nn.angular import arcface_loss, with_margin
from unmask.nn.iresnet import IResNet
from unmask.tasks.recipe import Recipe
from unmask.train.loop import restored, train


def lay(root: Path, persons: int = 6, frames: int = 6) -> Path:
    """Flat faces, each person's of one colour, of training and of validation; and rows that must not be learnt from."""
    rng = np.random.default_rng(0)
    found = []
    for split in ("train", "val"):
        for n in range(persons):
            colour = rng.integers(40, 215, 3)
            for frame in range(frames):
                row = face(f"{split}{n}", frame, 0, identity=f"{split}{n}", split=split, size=64, margin=1.3)
                noise = rng.integers(-20, 20, (64, 64, 3))
                found.append((row, (colour * rng.uniform(0.8, 1.2) + noise).clip(0, 255).astype(np.uint8)))
    about = {"split": "train", "size": 64, "margin": 1.3}
    grey = np.full((64, 64, 3), 128, np.uint8)
    found.append((face("nobody", 0, 0, **about), grey))
    found += [(face("forged", n, 1, identity="train0", **about), grey) for n in (0, 1)]
    found += [(face("flagged", n, 0, identity="flagged", flags=("duplicate",), **about), grey) for n in (0, 1)]
    for row, pixels in found:
        path = root / row.relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return write(root / "faces.parquet", [r for r, _ in found], {"d": root}, FaceRow).path


def test_the_margin_by_hand() -> None:
    # cos(60 deg) = 0.5, and cos(60 deg + 30 deg) = 0; the others stay. Past 180 deg: -1 - 0.5236 sin(30 deg) = -1.2618.
    found = with_margin(torch.tensor([[0.5, 0.1], [0.3, -1.0]]), torch.tensor([0, 1]), math.pi / 6)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.1], [0.3, -1.2618]]), atol=1e-4, rtol=0)
    none = torch.tensor([[0.5, 0.1]])
    torch.testing.assert_close(with_margin(none, torch.tensor([1]), 0.0), none)


def test_the_loss_by_hand() -> None:
    # an embedding at 60 deg from its centre and 30 deg from the other: logits 2 cos 90 deg = 0 and 2 cos 30 deg = 1.732
    embedding = torch.tensor([[3 * math.cos(math.pi / 3), 3 * math.sin(math.pi / 3)]])
    centres = torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    want = math.log(1 + math.exp(3**0.5))
    assert arcface_loss(embedding, centres, torch.tensor([0]), math.pi / 6, 2).item() == pytest.approx(want, abs=1e-5)


def test_it_learns_to_tell_unseen_people_apart(tmp_path: Path, one_thread: None) -> None:
    data, run = lay(tmp_path / "data"), tmp_path / "run"
    chosen = Recipe.model_validate(
        {
            "task": "pretraining",
            "name": "people",
            "method": "arcface",
            "options": {"network": "tiny-iresnet", "size": 32},
            "label": "identity",
            "probe": "identity",
            "data": {"train": {"label": ["real"]}, "validate": {"label": ["real"]}},
            "views": [{"count": 1, "crop": None}],
            "batch": 12,
            "length": "8 epochs",
            "optimizer": {"lr": 2e-3, "weight_decay": 0.05},
            "best": "verification_auroc",
        }
    )
    train(chosen, data, run, cpu=True)
    method, resolved = restored(run)
    assert resolved.options["classes"] == 6  # of training people: no forgery's, nobody flagged, nobody without a name
    found = rows(run)
    assert found[-1]["train_margin"] < found[0]["train_margin"]
    assert max(row["val_verification_auroc"] for row in found) > 0.9
    assert {"val_verification_accuracy", "val_verification_val"} <= found[-1].keys()
    detector = LSDA("tiny-resnet", "tiny-iresnet", 32)
    detector.load_pretrained(export_encoder(run, tmp_path / "encoder"))
    torch.testing.assert_close(detector.real.state_dict(), method.network.state_dict())


def test_published_weights_are_packed_for_lsda(tmp_path: Path) -> None:
    torch.manual_seed(3)
    teacher = IResNet("tiny-iresnet")
    torch.save(teacher.state_dict() | {"fc.weight": torch.rand(2, 2)}, tmp_path / "backbone.pth")
    state = packed(tmp_path / "backbone.pth", None)
    assert set(state) == {f"real.{k}" for k in teacher.state_dict()} | {"real.fc.weight"}
