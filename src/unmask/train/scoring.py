"""A detector and a face manifest in, a scores table out: each crop scored once, each failure a row with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bundles import Scorer
from unmask.bundles.calibration import margins, probabilities
from unmask.data.fitting import check, fit, read
from unmask.data.manifest import Manifest
from unmask.measure.scores import COLUMNS, validate
from unmask.nouns import Pixels, UnmaskError

BATCH = 64
_ROW = (
    "item_id", "media_id", "dataset", "method", "compression", "split", "group_id", "label", "frame", "track",
    "reason", "relpath", "size", "margin", "template",
)  # fmt: skip
Where = Callable[[pa.Table], NDArray[np.bool_]]
Step = Callable[[Pixels], Pixels]


class Margins(Protocol):
    """Crops (a list of uint8 (H, W, 3)) and their manifest rows -> margins (N,) and P(fake) (N,) or None."""

    def __call__(
        self, crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]: ...


def score_faces(
    scorer: Scorer, manifest: Path, *, where: Where | None = None, spoil: Step | None = None, batch: int = BATCH
) -> pa.Table:
    """Scores the crops of a face manifest with a bundle.

    Args:
        where: a mask (N,) over the manifest's columns; None = all rows.
        spoil: done to each crop as it is stored, uint8 (S, S, 3), before the detector's own resize.
    Returns: a valid table of `measure.scores`, in the manifest's order.
    Raises: UnmaskError for a manifest of media, and for crops that cannot give this detector's input.
    """
    return score_rows(by_bundle(scorer), manifest, where=where, spoil=spoil, batch=batch)


def score_rows(
    judge: Margins,
    manifest: Path,
    *,
    where: Where | None = None,
    spoil: Step | None = None,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> pa.Table:
    """As `score_faces`, for anything that gives margins."""
    opened = Manifest(manifest)
    rows = chosen(opened, where)
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        read = [(r, crop) for r, crop in zip(part, _crops(opened, part, spoil), strict=True) if crop is not None]
        for row in part:
            row |= {"score": None, "probability": None, "state": "failed"}
        if read:
            margin, probability = judge([c for _, c in read], [r for r, _ in read])
            for i, (row, _) in enumerate(read):
                said = None if probability is None else float(probability[i])
                row |= {"score": float(margin[i]), "probability": said, "state": "scored"}
        if progress is not None:
            progress(len(part))
    columns = {f.name: pa.array([r[f.name] for r in rows], f.type) for f in COLUMNS}
    return validate(pa.table(columns, schema=COLUMNS))


def chosen(manifest: Manifest, where: Where | None) -> list[dict[str, Any]]:
    """The manifest's rows that a scores table has, as plain values."""
    if manifest.kind != "faces":
        raise UnmaskError(f"{manifest.path} lists media, not faces: cut the crops with `unmask faces` first")
    table = manifest.table(list(manifest.arrow_schema.names) if where else list(_ROW))
    if where is not None:
        table = table.filter(pa.array(where(table)))
    rows: list[dict[str, Any]] = table.select(list(_ROW)).to_pylist()
    return rows


def by_bundle(scorer: Scorer) -> Margins:
    """A bundle as `score_rows` wants it."""
    card = scorer.card

    def judge(
        crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        for row in rows:
            check(card.input, row["margin"], row["template"], row["item_id"])
        ready = np.stack([fit(c, card.input, r["margin"]) for c, r in zip(crops, rows, strict=True)])
        margin = margins(scorer.logits(ready), card.classes)
        said = None if card.calibration is None else probabilities(card.calibration, margin).astype(np.float64)
        return margin.astype(np.float64), said

    return judge


def crops_of(manifest: Manifest, rows: Sequence[dict[str, Any]]) -> Iterator[Pixels]:
    """The crops of rows that have one, as they are stored."""
    return (crop for crop in _crops(manifest, rows, None) if crop is not None)


def _crops(manifest: Manifest, rows: Sequence[dict[str, Any]], spoil: Step | None) -> Iterator[Pixels | None]:
    """None where the manifest says that there is no crop; a crop that cannot be read is an error, not a skipped row."""
    for row in rows:
        if row["reason"]:
            yield None
            continue
        crop = read(manifest.file(row["dataset"], row["relpath"]), row["item_id"])
        yield spoil(crop) if spoil else crop
