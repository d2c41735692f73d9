"""Features of crops from a frozen encoder, computed once: a folder that grows, so that a stopped run is resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.sources import Rows
from unmask.data.fitting import fit, read
from unmask.data.manifest import FaceRow, Manifest
from unmask.detectors.gend import GenD
from unmask.types import Pixels

BATCH = 8


@dataclass(frozen=True)
class Faces(Rows):
    """With what a detector's head sees of them, (N, D)."""

    features: NDArray[np.float32]


def faces(manifest: Path, detector: GenD, cache: Path) -> Faces:
    """Features of all crops of a face manifest. `cache`: a folder of NAME.npy, NAME the sha256 of a crop.

    The features are those of the detector's encoder before the head scales them to unit length, in float16.
    """
    data = Manifest(manifest)
    rows = tuple(row for row in data if isinstance(row, FaceRow) and not row.reason)
    cache.mkdir(parents=True, exist_ok=True)
    missing = [row for row in rows if not (cache / f"{row.sha256}.npy").exists()]
    for start in range(0, len(missing), BATCH):
        part = missing[start : start + BATCH]
        pixels = np.stack([crop(data, row, detector) for row in part])
        for row, feature in zip(part, encoded(detector, pixels), strict=True):
            np.save(cache / f"{row.sha256}.npy", feature.astype(np.float16))
        print(f"\rfeatures {start + len(part)}/{len(missing)}", end="", flush=True)
    return Faces(rows, np.stack([np.load(cache / f"{row.sha256}.npy") for row in rows]).astype(np.float32))


def crop(data: Manifest, row: FaceRow, detector: GenD) -> Pixels:
    """uint8 (S, S, 3), as the detector wants it."""
    assert row.margin is not None  # every row with a crop has one
    return fit(read(data.roots[row.dataset] / row.relpath, row.item_id), detector.input, row.margin)


@torch.inference_mode()
def encoded(detector: GenD, pixels: Pixels) -> NDArray[np.float32]:
    """uint8 (N, S, S, 3) -> (N, D)"""
    image = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    found: NDArray[np.float32] = detector.encoder.patches(image).numpy()
    return found
