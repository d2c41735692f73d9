"""Crops as a detector sees them in use: no augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest, Split
from unmask.types import InputSpec, Pixels, UnmaskError


@dataclass(frozen=True)
class Stills:
    """uint8 (N, S, S, 3), labels (N,), leakage groups."""

    pixels: Pixels
    label: NDArray[np.int64]
    groups: Sequence[str]


def chosen(faces: Path, split: Split, spec: InputSpec, sets: Sequence[str]) -> FaceSet:
    """The crops of some data sets and a split. Raises: UnmaskError for none."""
    table = Manifest(faces).table(["split", "dataset"])
    place = zip(table["split"].to_pylist(), table["dataset"].to_pylist(), strict=True)
    found = FaceSet(faces, spec, where=np.array([s == split and d in sets for s, d in place], bool))
    if not len(found):
        raise UnmaskError(f"{faces} has no crops of {', '.join(sets)}, {split}")
    return found


def stills(faces: Path, split: Split, spec: InputSpec, sets: Sequence[str]) -> Stills:
    """The same in memory."""
    found = chosen(faces, split, spec, sets)
    pixels = np.stack([found[i].image for i in range(len(found))])
    groups = np.asarray(Manifest(faces).table(["group_id"])["group_id"].to_pylist())[found.row]
    return Stills(pixels, found.label.astype(np.int64), groups.tolist())
