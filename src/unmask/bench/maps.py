"""What crops and detectors look like before any number: average spectra of residuals, and maps of features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.base.predict import predict
from unmask.bench.scoring import chosen, crops_of, inputs_of_all
from unmask.data.manifest import Manifest
from unmask.measure.plots import LINES, features, frequencies, residual
from unmask.measure.protocol import Mask
from unmask.tiling import pooled
from unmask.train.loop import restore
from unmask.types import Pixels

LEAST = 10  # crops in all, below which a map of features is none


@dataclass(frozen=True)
class Sample:
    """Some crops (S, S, 3) of one column, their rows, and what each is: "real", or what made it."""

    crops: tuple[Pixels, ...]
    rows: tuple[dict[str, Any], ...]
    kinds: tuple[str, ...]


def sample(manifest: Manifest, mask: Mask, most: int) -> Sample:
    """At most `most` crops of reals and of each method: those of the lowest hash, whatever the order of rows."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in chosen(manifest, lambda _: mask):
        if not row["reason"]:
            by_kind.setdefault("real" if row["label"] == 0 else row["method"] or "fake", []).append(row)
    kept = {kind: sorted(rows, key=_drawn)[:most] for kind, rows in sorted(by_kind.items())}
    rows = [row for some in kept.values() for row in some]
    kinds = tuple(kind for kind, some in kept.items() for _ in some)
    return Sample(tuple(crops_of(manifest, rows)), tuple(rows), kinds)


def spectra(found: Sample) -> dict[str, NDArray[np.float64]]:
    """Mean of `pictures.residual` over each kind, of the middle that all crops have."""
    side = min(min(crop.shape[:2]) for crop in found.crops)
    power, kinds = np.stack([residual(_middle(crop, side)) for crop in found.crops]), np.array(found.kinds)
    return {kind: power[kinds == kind].mean(0) for kind in dict.fromkeys(found.kinds)}


def of_run(folder: Path, found: Sample, batch: int = 64) -> NDArray[np.float32]:
    """Features (N, D) that a run's best weights give these crops."""
    detector, _ = restore(folder)
    parts = []
    for at in range(0, len(found.crops), batch):
        crops, rows = found.crops[at : at + batch], found.rows[at : at + batch]
        ready, counts = inputs_of_all(crops, rows, detector.input)
        parts.append(pooled(predict(detector, ready, batch=batch).features, counts))
    return np.concatenate(parts)


def draw(
    columns: Sequence[tuple[str, Mask, Sequence[tuple[str, Path]]]], manifest: Manifest, most: int, out: Path
) -> None:
    """Images of every column.

    Args:
        columns: name, test rows, and the runs, by the name of their detector, whose features are mapped.
    """
    for number, (name, mask, runs) in enumerate(columns):
        found = sample(manifest, mask, most)
        if not found.crops:
            continue
        frequencies(dict(list(spectra(found).items())[:LINES]), out / f"frequencies-{number}")
        for label, folder in runs if len(found.crops) >= LEAST else ():
            points = of_run(folder, found)
            features(points, found.kinds, out / f"features-{number}-{_plain(label)}", title=f"{label}, {name}")


def _drawn(row: dict[str, Any]) -> bytes:
    return hashlib.sha256(row["item_id"].encode()).digest()


def _middle(crop: Pixels, side: int) -> Pixels:
    y, x = ((length - side) // 2 for length in crop.shape[:2])
    return crop[y : y + side, x : x + side]


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
