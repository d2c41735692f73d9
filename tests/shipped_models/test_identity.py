"""The network that knows people: its margin by hand, whose faces it learns from, and that it learns."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.data.crops import face
from training import identity
from training.identity import packed, people, report, train, with_margin
from unmask.data.manifest import FaceRow, write
from unmask.detectors.lsda import LSDA
from unmask.nn.iresnet import IResNet
from unmask.types import UnmaskError


def lay(root: Path, persons: int = 4, pictures: int = 6) -> Path:
    """Flat faces, each person's of one colour, of training and of validation; and rows that must not be learnt from."""
    rng = np.random.default_rng(0)
    rows = []
    for split in ("train", "val"):
        for n in range(persons):
            colour = rng.integers(40, 215, 3)
            for frame in range(pictures):
                row = face(f"{split}{n}", frame, 0, identity=f"{split}{n}", split=split, size=64, margin=1.3)
                light, noise = rng.uniform(0.4, 1.6), rng.integers(-30, 30, (64, 64, 3))
                rows.append((row, (colour * light + noise).clip(0, 255).astype(np.uint8)))
    about = {"split": "train", "size": 64, "margin": 1.3}
    grey = np.full((64, 64, 3), 128, np.uint8)
    rows.append((face("once", 0, 0, identity="once", **about), grey))
    rows.append((face("nobody", 0, 0, **about), grey))
    rows += [(face("forged", n, 1, identity="train0", **about), grey) for n in (0, 1)]
    rows += [(face("flagged", n, 0, identity="flagged", flags=("duplicate",), **about), grey) for n in (0, 1)]
    for row, pixels in rows:
        path = root / row.relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return write(root / "faces.parquet", [r for r, _ in rows], {"d": root}, FaceRow).path


def test_the_margin_by_hand() -> None:
    # cos(60 deg) = 0.5, and cos(60 deg + 30 deg) = 0; the others stay. Past 180 deg: -1 - 0.5236 sin(30 deg) = -1.2618.
    found = with_margin(torch.tensor([[0.5, 0.1], [0.3, -1.0]]), torch.tensor([0, 1]), math.pi / 6)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.1], [0.3, -1.2618]]), atol=1e-4, rtol=0)
    none = torch.tensor([[0.5, 0.1]])
    torch.testing.assert_close(with_margin(none, torch.tensor([1]), 0.0), none)


def test_real_unflagged_faces_of_people_with_two_pictures_or_more(tmp_path: Path) -> None:
    taught, held = (people(lay(tmp_path), split) for split in ("train", "val"))
    for part in (taught, held):
        assert part.faces.shape == (24, 64, 64, 3)
        assert np.bincount(part.person).tolist() == [6] * 4
        assert set(part.dataset.tolist()) == {"d"}
    with pytest.raises(UnmaskError, match="fewer than two people of split test"):
        people(tmp_path / "faces.parquet", "test")


def test_it_learns_people_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "BATCH", 12)
    taught = people(lay(tmp_path), "train")
    torch.manual_seed(0)
    network = IResNet("tiny-iresnet")
    before = report(network, taught, "untrained")["d"][0]
    train(network, taught, 12, 0)
    after, pixels = report(network, taught, "trained")["d"]
    assert after > max(before + 0.02, 0.9)
    assert 0 <= pixels < after  # the colour is all that these have of a person, and grey pixels do not see it


def test_published_weights_are_packed_for_the_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    teacher = IResNet("tiny-iresnet")
    torch.save(teacher.state_dict() | {"fc.weight": torch.rand(2, 2)}, tmp_path / "backbone.pth")
    words = ["identity", "--arcface", str(tmp_path / "backbone.pth"), "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", words)
    identity.main()
    detector = LSDA("tiny-resnet", "tiny-iresnet", 32)
    detector.load_pretrained(tmp_path / "run" / "start.safetensors")
    torch.testing.assert_close(detector.real.state_dict(), teacher.state_dict())
    assert set(packed(tmp_path / "backbone.pth", None)) == {f"real.{k}" for k in teacher.state_dict()} | {
        "real.fc.weight"
    }
