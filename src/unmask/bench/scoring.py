"""A detector and a manifest in, a scores table out: each crop or image scored once, each failure a row with its
reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unmask.bundles import Scorer
from unmask.bundles.calibration import log_odds, probabilities
from unmask.data.fitting import inputs_of, read
from unmask.data.manifest import Manifest
from unmask.data.pictures import read_picture, rows_of
from unmask.data.windows import KEYS, in_windows, remedy
from unmask.errors import ManifestError
from unmask.measure.scores import COLUMNS, validate
from unmask.tiling import pooled
from unmask.types import InputSpec, Pixels

BATCH = 64
PICTURES = 4  # whole images at a time: a camera's has 50 million numbers
_ROW = (
    "item_id", "media_id", "dataset", "method", "compression", "split", "group_id", "label", "frame", "track",
    "reason", "relpath", "size", "margin", "template", "sha256",
)  # fmt: skip
Where = Callable[[pa.Table], NDArray[np.bool_]]


class ScoreFunction(Protocol):
    """Crops (a list of uint8 (H, W, 3), or of windows (T, H, W, 3)) and their manifest rows -> logits (N,), and P(fake)
    (N,) or None."""

    def __call__(
        self, crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]: ...


def score_faces(scorer: Scorer, manifest: Path, *, where: Where | None = None, batch: int = BATCH) -> pa.Table:
    """Scores the crops of a face manifest, or the images of a manifest of media, with a bundle.

    Args:
        where: a mask (N,) over the manifest's columns; None = all rows.
    Returns: a valid table of `measure.scores`, in the manifest's order.
    Raises: UnmaskError for rows that cannot give this detector's input, and files that cannot be read.
    """
    return score_rows(by_bundle(scorer), manifest, where=where, batch=batch, frames=scorer.card.input.frames)


def score_rows(
    scorer: ScoreFunction,
    manifest: Path,
    *,
    where: Where | None = None,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
    frames: int = 1,
) -> pa.Table:
    """As `score_faces`, for anything that gives logits.

    Args:
        frames: that it looks at together: of more than one, the row of a window's first frame has the window's score.
    Returns: one row for each of the manifest's, or for each window; rows outside of any window have no score.
    """
    opened = Manifest(manifest)
    if frames > 1:
        coming = _windows(opened, where, frames)
        return score_crops([scorer], coming, batch=max(1, batch // frames), progress=progress)[0]
    rows = chosen(opened, where)
    if opened.kind != "faces":
        batch = min(batch, PICTURES)
    return score_crops([scorer], zip(rows, _crops(opened, rows), strict=True), batch=batch, progress=progress)[0]


def score_crops(
    entries: Sequence[ScoreFunction],
    crops: Iterable[tuple[dict[str, Any], Pixels | None]],
    *,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> list[pa.Table]:
    """Scores crops as they come, one table for each judge.

    Args:
        crops: rows with the columns of a face manifest, each with its crop, or None where `reason` says why not.
    """
    tables: list[list[dict[str, Any]]] = [[] for _ in entries]
    coming = iter(crops)
    while part := list(islice(coming, batch)):
        read = [(r, crop) for r, crop in part if crop is not None]
        for scorer, done in zip(entries, tables, strict=True):
            logit, probability = scorer([c for _, c in read], [r for r, _ in read]) if read else (np.zeros(0), None)
            said = {r["item_id"]: i for i, (r, _) in enumerate(read)}
            done += [_scored(r, said.get(r["item_id"]), logit, probability) for r, _ in part]
        if progress is not None:
            progress(len(part))
    return [
        validate(pa.table({f.name: pa.array([r[f.name] for r in rows], f.type) for f in COLUMNS}, schema=COLUMNS))
        for rows in tables
    ]


def _scored(
    row: dict[str, Any], at: int | None, logit: NDArray[np.float64], probability: NDArray[np.float64] | None
) -> dict[str, Any]:
    if at is None:
        return row | {"score": None, "probability": None, "state": "failed"}
    said = None if probability is None else float(probability[at])
    return row | {"score": float(logit[at]), "probability": said, "state": "scored"}


def chosen(manifest: Manifest, where: Where | None) -> list[dict[str, Any]]:
    """The manifest's rows that a scores table has, as plain values; those of media as rows of whole images."""
    rows: list[dict[str, Any]] = _chosen(manifest, where, _ROW).to_pylist()
    return rows


def _chosen(manifest: Manifest, where: Where | None, columns: Sequence[str]) -> pa.Table:
    table = rows_of(manifest, () if where else columns)
    if where is not None:
        table = table.filter(pa.array(where(table)))
    return table.select(list(columns))


def _windows(manifest: Manifest, where: Where | None, frames: int) -> Iterator[tuple[dict[str, Any], Pixels | None]]:
    """The first row of each window with its crops (T, H, W, 3); rows outside of any window without."""
    if "window" not in manifest.arrow_schema.names:
        raise ManifestError(f"{manifest.path} has no windows: {remedy(frames)}")
    table = _chosen(manifest, where, tuple(dict.fromkeys((*_ROW, *KEYS))))
    there = np.flatnonzero(pc.equal(table["reason"], "").to_numpy(zero_copy_only=False))
    found = there[in_windows(table.take(pa.array(there)), frames)]
    rows = table.to_pylist()
    for i in np.setdiff1d(np.arange(len(rows)), found):
        yield rows[i] | {"reason": rows[i]["reason"] or f"in no window of {frames} frames in a row"}, None
    for window in found:
        yield rows[window[0]], np.stack(list(crops_of(manifest, [rows[i] for i in window])))


def by_bundle(scorer: Scorer) -> ScoreFunction:
    """A bundle as `score_rows` wants it."""
    card = scorer.card

    def score(
        crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        ready, counts = inputs_of_all(crops, rows, card.input)
        logit = pooled(log_odds(scorer.logits(ready), card.classes), counts)
        said = None if card.calibration is None else probabilities(card.calibration, logit).astype(np.float64)
        return logit.astype(np.float64), said

    return score


def inputs_of_all(crops: Sequence[Pixels], rows: Sequence[dict[str, Any]], spec: InputSpec) -> tuple[Pixels, list[int]]:
    """What a detector looks at to judge these rows, (N, size, size, 3), and how many of them belong to each."""
    ready = [inputs_of(crop, spec, row) for crop, row in zip(crops, rows, strict=True)]
    return np.concatenate(ready), [len(one) for one in ready]


def crops_of(manifest: Manifest, rows: Sequence[dict[str, Any]]) -> Iterator[Pixels]:
    """The crops of rows that have one, as they are stored."""
    return (crop for crop in _crops(manifest, rows) if crop is not None)


def _crops(manifest: Manifest, rows: Sequence[dict[str, Any]]) -> Iterator[Pixels | None]:
    """None where the manifest says that there is no crop; a crop that cannot be read is an error, not a skipped row."""
    for row in rows:
        if row["reason"]:
            yield None
            continue
        path = manifest.file(row["dataset"], row["relpath"])
        if manifest.kind == "faces":
            yield read(path, row["item_id"])
        else:
            root = manifest.roots[row["dataset"]]
            yield read_picture(root, row["relpath"], row["sha256"] or "", row["frame"], row["item_id"])
