"""How well a bundle or a run tells the rows of a manifest apart: frames and videos, with intervals by leakage group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unmask.base.detector import Detector
from unmask.base.predict import predict
from unmask.bench.scoring import BATCH, ScoreFunction, by_bundle, inputs_of_all, score_rows
from unmask.bundles import load
from unmask.bundles.calibration import log_odds
from unmask.data.manifest import Manifest
from unmask.errors import InputError, ManifestError
from unmask.measure.cells import Cell, Judged, cell
from unmask.measure.protocol import Interval, Metric
from unmask.measure.units import Level, Units, units
from unmask.tiling import pooled
from unmask.train.loop import restore
from unmask.train.run import RECIPE
from unmask.types import Pixels

BY = ("dataset", "method", "compression")
LEVELS: tuple[Level, ...] = ("frame", "video")
METRICS: tuple[Metric, ...] = ("auroc", "average_precision", "eer", "ece", "cllr")


@dataclass(frozen=True)
class Evaluation:
    """Numbers, and what they rest on.

    Attributes:
        data: digest of the manifest.
        rows: labelled rows that were asked about; `failed`: those without a score, with their reason in the manifest.
        cells: for each level, part and metric.
    """

    detector: str
    data: str
    split: str
    rows: int
    failed: int
    interval: Interval
    cells: tuple[tuple[Level, Cell], ...]


def evaluate(
    detector: str,
    manifest: Path,
    *,
    split: str = "test",
    by: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """
    Args:
        detector: "embedded", the folder of a bundle or of a run, or "hub:owner/name".
        split: "all", or the split whose rows count.
        by: of `BY`; besides the whole, each part by itself. A part of one method is its forgeries and all reals there.
    Raises: UnmaskError for rows that are not there, columns that nothing is counted by, and crops that do not fit.
    """
    if unknown := [name for name in by if name not in BY]:
        raise InputError(f"cannot count by {unknown[0]!r}: there is {', '.join(BY)}")
    name, scorer, frames = entry_of(detector)
    opened = Manifest(manifest)
    table = score_rows(scorer, manifest, where=lambda rows: chosen(rows, split), progress=progress, frames=frames)
    if not len(table):
        there = sorted({s or "none" for s in opened.table(["split"])["split"].to_pylist()})
        raise ManifestError(f"{manifest} has no labelled rows of the split {split!r}; its splits: {', '.join(there)}")
    how = Interval()
    cells = []
    for level in LEVELS:
        whole = units(table, level)
        for title, part in parts(whole, by):
            cells += [(level, cell(Judged(name, (part,)), title, metric, how, {})) for metric in METRICS]
    failed = int(pc.sum(pc.is_null(table["score"])).as_py() or 0)
    return Evaluation(name, opened.digest, split, len(table), failed, how, tuple(cells))


def entry_of(detector: str) -> tuple[str, ScoreFunction, int]:
    """Its name, how it scores, and how many frames it looks at together."""
    if (Path(detector) / RECIPE).is_file():
        restored, recipe = restore(Path(detector))
        return recipe.name, by_detector(restored), restored.input.frames
    scorer = load(detector)
    return scorer.card.name, by_bundle(scorer), scorer.card.input.frames


def by_detector(detector: Detector) -> ScoreFunction:
    """A torch detector as `score_rows` wants it, where it lies. It has no calibration, and so says no P(fake)."""

    def scorer(crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], None]:
        ready, counts = inputs_of_all(crops, rows, detector.input)
        said = log_odds(predict(detector, ready, batch=BATCH * detector.input.frames).logits, detector.classes)
        return pooled(said, counts).astype(np.float64), None

    return scorer


def chosen(table: pa.Table, split: str) -> NDArray[np.bool_]:
    """(N,), True for labelled rows of a split, or of all."""
    mask = pc.is_valid(table["label"])
    if split != "all":
        mask = pc.and_(mask, pc.fill_null(pc.equal(table["split"], split), False))
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)


def parts(whole: Units, by: Sequence[str]) -> Iterator[tuple[str, Units]]:
    """The whole, then each part of it by name."""
    yield "all", whole
    columns = [c for c in by if c != "method"]
    keys = np.array(["/".join(row) for row in zip(*(getattr(whole, c) for c in columns), strict=True)] or [""])
    keys = np.broadcast_to(keys, len(whole)) if not columns else keys
    for key in np.unique(keys) if by else ():
        inside = keys == key
        if "method" not in by:
            yield str(key), whole[inside]
            continue
        for method in np.unique(whole.method[inside & (whole.label == 1)]):
            title = "/".join(t for t in (str(key), str(method)) if t)
            yield title, whole[inside & ((whole.label == 0) | (whole.method == method))]
