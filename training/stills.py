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


def stills(faces: Path, split: Split, spec: InputSpec, sets: Sequence[str], most: int | None = None) -> Stills:
    """The crops of some data sets and a split, or `most` of them, by chance. Raises: UnmaskError for none."""
    table = Manifest(faces).table(["split", "dataset", "group_id"])
    place = zip(table["split"].to_pylist(), table["dataset"].to_pylist(), strict=True)
    chosen = FaceSet(faces, spec, where=np.array([s == split and d in sets for s, d in place], bool))
    if not len(chosen):
        raise UnmaskError(f"{faces} has no crops of {', '.join(sets)}, {split}")
    kept = np.sort(np.random.default_rng(0).permutation(len(chosen))[:most])
    pixels = np.stack([chosen[int(i)].image for i in kept])
    groups = np.asarray(table["group_id"].to_pylist())[chosen.row[kept]]
    return Stills(pixels, chosen.label[kept].astype(np.int64), groups.tolist())
