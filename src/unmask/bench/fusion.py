"""Several detectors, and score files of others, fused on rows that none of them has learnt from, and tested on other
people than the fusion was fitted on."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bench import score_files
from unmask.bench.evaluate import chosen as of_split
from unmask.bench.evaluate import entry_of
from unmask.bench.scoring import ScoreFunction, by_bundle, chosen, score_rows
from unmask.bench.trained import weights
from unmask.bundles import load
from unmask.bundles.fusion import Column, FusionFile, read
from unmask.data.manifest import Manifest
from unmask.errors import InputError, ManifestError
from unmask.measure.calibration import calibrate
from unmask.measure.calibrators import sigmoid
from unmask.measure.fusion import Fusion, cross_fitted, deal
from unmask.measure.interval import Difference, Interval, bootstrap, paired
from unmask.measure.metrics import auroc, cllr, log_loss
from unmask.measure.units import Units, units
from unmask.train.run import RECIPE, Folder

FUSED = "fusion"
ROUNDS = 1000  # resamples of an interval


@dataclass(frozen=True)
class Row:
    """One column, or the fusion, on the rows that all columns score. Log loss (nats) and Cllr (bits) are of
    probabilities that were calibrated on the other folds, for all alike."""

    name: str
    weight: float | None
    auroc: Interval
    log_loss: Interval
    cllr: Interval


@dataclass(frozen=True)
class Found:
    """`left_out`: images and videos that one of the columns has no score for; `gain`: fusion minus the column of the
    best AUROC; `unmatched`: rows of score files that the manifest does not have."""

    rows: tuple[Row, ...]
    best: str
    gain: Difference
    real: int
    fake: int
    groups: int
    left_out: int
    unmatched: dict[str, int]
    file: FusionFile


@dataclass(frozen=True)
class Wanted:
    """`datasets`: only these, empty = all. `unseen_methods`: hold out forgery methods beside groups. `use`: a fusion
    that is there already, which is tested and not fitted."""

    data: Path
    detectors: tuple[str, ...]
    scores: tuple[Path, ...] = ()
    split: str = "test"
    datasets: tuple[str, ...] = ()
    folds: int = 5
    unseen_methods: bool = False
    use: Path | None = None


@dataclass(frozen=True)
class Detector:
    """A detector ready to score; `digest`: of the manifest it was trained with ("" = not stated), `made_with`: names of
    the data sets that it was made with, as its card has them."""

    column: Column
    scorer: ScoreFunction
    frames: int
    digest: str
    made_with: tuple[str, ...]


@dataclass(frozen=True)
class Together:
    """The N images and videos that every column scores. `logits`: (N, K); `data`: digest of the manifest."""

    columns: tuple[Column, ...]
    units: Units
    logits: NDArray[np.float64]
    left_out: int
    unmatched: dict[str, int]
    data: str

    @property
    def label(self) -> NDArray[np.int64]:
        return self.units.label

    @property
    def group(self) -> NDArray[Any]:
        return self.units.group


def run(wanted: Wanted, progress: Callable[[str, int], None] = lambda what, n: None) -> Found:
    """Raises: UnmaskError for rows that a detector has learnt from, for groups that a fusion in use was fitted on, and
    where too few groups hold a class."""
    if len(wanted.detectors) + len(wanted.scores) < 2:
        raise InputError("a fusion takes at least two columns: name detectors with --detectors, files with --scores")
    manifest = Manifest(wanted.data)
    detectors = [opened(name) for name in wanted.detectors]
    for detector in detectors:
        refuse_learnt(detector, manifest, wanted)
    found = _scored(wanted, manifest, detectors, progress)
    return _fitted(wanted, found) if wanted.use is None else _used(wanted, wanted.use, found)


def opened(called: str) -> Detector:
    """A bundle, or the folder of a run."""
    if (Path(called) / RECIPE).is_file():
        name, scorer, frames = entry_of(called)
        column = Column(name=name, called=called, kind="detector", sha256=weights(Path(called)))
        return Detector(column, scorer, frames, Folder(Path(called)).facts()["data"], ())
    bundle = load(called)
    card = bundle.card
    column = Column(name=card.name, called=called, kind="detector", sha256=bundle.weights_sha256)
    made_with = (d.name for d in card.data if any(not use.strip().startswith("test") for use in d.use.split(",")))
    digest = str(card.recipe.get("data_digest", ""))
    return Detector(column, by_bundle(bundle), card.input.frames, digest, tuple(made_with))


def wanted_rows(wanted: Wanted) -> Callable[[pa.Table], NDArray[np.bool_]]:
    def where(table: pa.Table) -> NDArray[np.bool_]:
        of = [not wanted.datasets or d in wanted.datasets for d in table["dataset"].to_pylist()]
        return np.asarray(of_split(table, wanted.split) & np.array(of, bool))

    return where


def refuse_learnt(detector: Detector, manifest: Manifest, wanted: Wanted) -> None:
    """Raises: UnmaskError where some of the rows are what the detector was trained, chosen or calibrated on.

    Rows of the split "train" always are. Rows of "val", or without a split, are where its card names this manifest's
    digest, or their data set for anything but a test. Fused on such rows, the detector that has learnt them by heart
    would get all the weight.
    """
    table = manifest.table(["dataset", "split", "label"])
    asked = table.filter(pa.array(wanted_rows(wanted)(table)))
    for dataset, split in sorted({(r["dataset"], r["split"] or "") for r in asked.to_pylist()}):
        name = re.compile(rf"(?<!\w){re.escape(dataset)}(?!\w)")
        known = detector.digest == manifest.digest or any(name.search(data) for data in detector.made_with)
        if split == "train" or (split != "test" and known):
            rows = f"rows of {dataset} of the split {split!r}" if split else f"rows of {dataset} without a split"
            raise InputError(
                f"{detector.column.called} may have been trained or calibrated on the {rows}: its scores there are "
                "better than elsewhere, and a fusion would trust it too much. Fuse test rows (--split test), or data "
                "sets that it has not met (--dataset)"
            )


def _scored(
    wanted: Wanted, manifest: Manifest, detectors: Sequence[Detector], progress: Callable[[str, int], None]
) -> Together:
    where = wanted_rows(wanted)
    rows = chosen(manifest, where)
    if not rows:
        raise ManifestError(f"{wanted.data} has no labelled rows of the split {wanted.split!r} and these data sets")
    columns, tables, unmatched = [d.column for d in detectors], [], {}
    for detector in detectors:
        advance = partial(progress, detector.column.name)
        tables.append(score_rows(detector.scorer, wanted.data, where=where, progress=advance, frames=detector.frames))
    for path in wanted.scores:
        file = score_files.read(path)
        columns.append(Column(name=file.name, called=path.name, kind="scores", sha256=file.sha256))
        table, unmatched[file.name] = score_files.table_of(file, rows)
        tables.append(table)
    both, logits, left_out = common([units(table) for table in tables])
    return Together(tuple(columns), both, logits, left_out, unmatched, manifest.digest)


def common(columns: Sequence[Units]) -> tuple[Units, NDArray[np.float64], int]:
    """The images and videos that every column scores, their logits (N, K), and how many more some column scores."""
    keyed = [
        {key: i for i, key in enumerate(zip(u.dataset, u.method, u.compression, u.media, strict=True))} for u in columns
    ]
    shared = [key for key in keyed[0] if all(key in other for other in keyed[1:])]
    if not shared:
        raise InputError("no image or video has a score in every column")
    at = [np.array([k[key] for key in shared]) for k in keyed]
    logits = np.stack([u.score[i] for u, i in zip(columns, at, strict=True)], axis=1)
    return columns[0][at[0]], logits, len({key for k in keyed for key in k}) - len(shared)


def group_hashes(found: Units) -> tuple[str, ...]:
    """One hash for each leakage group: tells that two sides share one, and not who is in it."""
    return tuple(sorted({hashlib.sha256(g.encode()).hexdigest()[:16] for g in found.group.tolist()}))


def _fitted(wanted: Wanted, found: Together) -> Found:
    fold = deal(found.group, found.label, wanted.folds)
    method = found.units.method if wanted.unseen_methods else None
    fused = cross_fitted(found.logits, found.label, fold, method)
    alone = [cross_fitted(found.logits[:, [k]], found.label, fold, method) for k in range(len(found.columns))]
    fusion = Fusion.fit(found.logits, found.label)
    said = f"{', '.join(sorted(set(found.units.dataset.tolist())))}, {wanted.split} rows, cross-fitted: "
    said += f"{len(found.units)} images and videos, {len(set(found.group.tolist()))} groups"
    file = FusionFile(
        columns=tuple(c.model_copy(update={"weight": w}) for c, w in zip(found.columns, fusion.weights, strict=True)),
        intercept=fusion.intercept,
        calibration=calibrate(found.label, fused, found.group.tolist(), said, rounds=ROUNDS // 2),
        data=found.data,
        split=wanted.split,
        rows=len(found.units),
        groups=group_hashes(found.units),
        rebuild=_rebuild(wanted),
    )
    return _measured(file, found, alone, fused)


def _used(wanted: Wanted, path: Path, found: Together) -> Found:
    file, _ = read(path)
    if len(found.columns) != len(file.columns):
        raise InputError(f"{path} fuses {', '.join(c.name for c in file.columns)}: give as many, in this order")
    for held, given in zip(file.columns, found.columns, strict=True):
        if held.kind != given.kind or (held.kind == "detector" and held.sha256 != given.sha256):
            raise InputError(f"{path} fuses {held.name} ({held.sha256[:16]}) where {given.name} is given")
    if shared := set(file.groups) & set(group_hashes(found.units)):
        raise InputError(
            f"{len(shared)} leakage groups of {wanted.data} are among those that {path} was fitted on: a test on "
            "people that it knows says nothing; choose other rows"
        )
    fold = deal(found.group, found.label, wanted.folds)
    alone = [cross_fitted(found.logits[:, [k]], found.label, fold) for k in range(len(found.columns))]
    calibrated = file.calibration.slope * file(found.logits) + file.calibration.intercept
    return _measured(file, found, alone, calibrated)


def _measured(
    file: FusionFile, found: Together, alone: Sequence[NDArray[np.float64]], fused: NDArray[np.float64]
) -> Found:
    label, group = found.label, found.group

    def row(name: str, weight: float | None, score: NDArray[np.float64], odds: NDArray[np.float64]) -> Row:
        p = sigmoid(odds)
        of = [bootstrap(metric, label, x, group, ROUNDS) for metric, x in ((auroc, score), (log_loss, p), (cllr, p))]
        return Row(name, weight, *of)

    rows = [row(c.name, c.weight, found.logits[:, k], alone[k]) for k, c in enumerate(file.columns)]
    best = max(range(len(rows)), key=lambda k: rows[k].auroc.value)
    gain = paired(auroc, label, fused, found.logits[:, best], group, ROUNDS)
    rows.append(row(FUSED, None, fused, fused))
    real, groups = int((label == 0).sum()), len(set(group.tolist()))
    return Found(
        tuple(rows), rows[best].name, gain, real, len(label) - real, groups, found.left_out, found.unmatched, file
    )


def _rebuild(wanted: Wanted) -> str:
    words: list[Any] = ["unmask", "eval", "fuse", wanted.data.name]
    if wanted.detectors:
        words += ["--detectors", ",".join(wanted.detectors)]
    words += [w for path in wanted.scores for w in ("--scores", path.name)]
    words += ["--split", wanted.split, *(w for d in wanted.datasets for w in ("--dataset", d))]
    words += ["--folds", str(wanted.folds), *(["--unseen-methods"] if wanted.unseen_methods else [])]
    return shlex.join(words)
