"""A face manifest that a small detector can learn, and recipes that train on it in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from tests.data.crops import face, picture
from unmask.data.manifest import FaceRow, write
from unmask.tasks.recipe import Recipe

SIZE = 64


def lay(root: Path, people: int = 8, frames: int = 3, validation: int = 3) -> Path:
    """Each person's video and one forgery of it, brighter; the last people are those of validation."""
    found = []
    for n in range(people):
        split = "val" if n >= people - validation else "train"
        about: dict[str, Any] = {"size": SIZE, "margin": 1.3, "split": split}
        for frame in range(frames):
            found.append(face(f"p{n}", frame, 0, **about))
            found.append(face(f"swap{n}", frame, 1, source=f"p{n}", method="swap", **about))
    for row in found:
        path = root / row.relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = picture(row.relpath, SIZE) // 2 + (50 if row.label else 0)
        cv2.imwrite(str(path), pixels[..., ::-1])
    return write(root / "faces.parquet", found, {"d": root}, FaceRow).path


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "small",
        "method": "gend",
        "options": {"backbone": "tiny-dinov2", "adaptation": "full", "head": "linear"},
        "batch": 10,
        "length": "4 epochs",
        "optimizer": {"lr": 1e-3},
        "schedule": {"name": "cosine", "warmup": "2 steps"},
        "sampler": {"name": "paired"},
    }
    return Recipe.model_validate(values | changes)
