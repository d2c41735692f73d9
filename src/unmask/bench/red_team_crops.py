"""The crops that are attacked or certified, as the detector takes them, and where its verdict turns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from unmask.bench.scoring import crops_of
from unmask.data.fitting import check, fit
from unmask.data.manifest import Manifest
from unmask.errors import InputError, ManifestError
from unmask.measure.protocol import Where
from unmask.registry import nearest
from unmask.types import Card, Pixels


def boundary(card: Card) -> float:
    """The log-odds at which the calibrated P(fake) is 0.5; 0 without a calibration."""
    found = card.calibration
    return 0.0 if found is None else -found.intercept / found.slope


def chosen_rows(
    manifest: Manifest, split: str, datasets: tuple[str, ...], items: int, by: str = ""
) -> list[dict[str, Any]]:
    """Labelled rows with a crop; of more than `items` of a class of a data set those of the lowest hash of their pair.

    Args:
        split: "" = any. `datasets`: none = all.
        by: a column that must be there.
    Raises: UnmaskError for a manifest of media, an unknown column, and rows of one class alone.
    """
    if manifest.kind != "faces":
        raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")
    names = list(manifest.arrow_schema.names)
    if by and by not in names:
        raise InputError(f"no column {by!r}; {nearest(by, names)}")
    table = manifest.table(names)
    mask = Where(split=(split,) if split else (), dataset=datasets).mask(table)
    rows: list[dict[str, Any]] = [
        r for r, kept in zip(table.to_pylist(), mask, strict=True) if kept and not r["reason"]
    ]
    rows.sort(key=lambda r: hashlib.sha256((r["pair_key"] or r["item_id"]).encode()).hexdigest())
    kept, count = [], dict[tuple[str, int], int]()
    for r in rows:
        key = r["dataset"], r["label"]
        count[key] = count.get(key, 0) + 1
        if not items or count[key] <= items:
            kept.append(r)
    if {r["label"] for r in kept} != {0, 1}:
        raise ManifestError(f"{manifest.path} has no {split} crops of both classes: choose another --split")
    return kept


def cut(manifest: Manifest, rows: Sequence[dict[str, Any]], card: Card) -> Pixels:
    """uint8 (N, S, S, 3). Raises: UnmaskError for crops that cannot give this detector's input."""
    for r in rows:
        check(card.input, r["margin"], r["template"], r["item_id"])
    pairs = zip(crops_of(manifest, rows), rows, strict=True)
    return np.stack([fit(crop, card.input, r["margin"]) for crop, r in pairs])
