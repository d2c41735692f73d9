"""A manifest of faces, a preset and detectors in, severity curves out; scores are kept under their hashes."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unmask.bench.corrupted import damaged
from unmask.bench.entries import Entries
from unmask.bench.options import Options, expecting
from unmask.bench.scorers import FittedScorer, Progress, Sides, key_of, scored
from unmask.bench.scoring import score_crops
from unmask.bench.training import Steps
from unmask.data.extraction import Task, inherited, media_of
from unmask.data.manifest import Manifest
from unmask.data.media_faces import face_detector
from unmask.errors import ManifestError
from unmask.imageops import reencoding as reencode
from unmask.imageops.corruption import KINDS, preset
from unmask.measure import scores
from unmask.measure.cells import threshold
from unmask.measure.protocol import Interval, Threshold, Where
from unmask.measure.robustness import CLEAN, Boxes, Number, Suite, suite
from unmask.measure.robustness_tables import Stress
from unmask.measure.units import units

RULES = "stress/1"  # of how a corrupted file becomes a score


@dataclass(frozen=True, kw_only=True)
class Wanted(Options):
    """`datasets`: only these, empty = all; `items`: media of a data set at most, 0 = all; `seed`: of the corruption."""

    preset: str = "deeperforensics-v1"
    boxes: Boxes = "reuse"
    datasets: tuple[str, ...] = ()
    split: str = "test"
    items: int = 0
    seed: int = 0
    rounds: int = 1000


def run(
    wanted: Wanted, progress: Progress = lambda what, n: None, steps: Steps = lambda what, done, of: None
) -> Stress:
    """Trains recipes on all training rows, damages, scores and counts; runs and scores stay in `out`.

    Raises: UnmaskError where an expected hash differs, the manifest holds no such rows, or a media file cannot be read.
    """
    kinds = preset(wanted.preset)
    manifest, table = wanted.opened()
    chosen = Where(split=(wanted.split,), dataset=wanted.datasets).mask(table)
    sides = Sides.of(table, chosen)
    entries = Entries(wanted.detectors, manifest, table, wanted.runs or wanted.out)
    hashes = entries.hashes([sides], wanted.expect_bundles)
    media = _media(manifest, table, chosen, wanted.items)
    if not media:
        raise ManifestError(f"{wanted.data} has no labelled {wanted.split} rows of these data sets")
    entries.train([sides], wanted.how, steps)
    detectors = [one for (one,) in entries.fit(sides)]
    limits = [_limit(d, manifest, table, sides.validate, wanted.out / "scores", progress) for d in detectors]
    damages = [(CLEAN, 0), *((k, level + 1) for k in kinds for level in range(len(KINDS[k].steps)))]
    tables = {step: _scores(wanted, manifest, media, detectors, step, progress) for step in damages}
    suites: list[Suite] = []
    for dataset in sorted({t.row.dataset for t in media}):
        for i, name in enumerate(entries.labels):
            progress(f"intervals, {dataset}", 0)
            own = {step: _of(found[i], dataset) for step, found in tables.items()}
            suites.append(suite(name, dataset, wanted.boxes, own, Interval(rounds=wanted.rounds), limits[i]))
    return Stress(
        preset=wanted.preset,
        boxes=wanted.boxes,
        suites=tuple(suites),
        detectors=entries.labels,
        bundles=hashes,
        trained=entries.notes(),
        data=manifest.digest,
        codec=reencode.version() if any(KINDS[k].clip for k in kinds) else "",
        rounds=wanted.rounds,
        seed=wanted.seed,
        subset=f"at most {wanted.items} media of a data set, pairs kept together" if wanted.items else "",
        rebuild=_again(wanted, manifest.digest, hashes),
    )


def _media(manifest: Manifest, table: pa.Table, mask: np.ndarray, items: int) -> list[Task]:
    """The media of the chosen rows with their faces; of more than `items`, those of the lowest hash of their pair."""
    ids = set(table["item_id"].filter(pa.array(mask)).to_pylist())
    found = [t for t in media_of(manifest) if any(r.item_id in ids for r in t.known)]
    if not items:
        return found

    def order(task: Task) -> str:
        return hashlib.sha256((task.row.pair_key or task.row.item_id).encode()).hexdigest()

    kept: list[Task] = []
    for dataset in sorted({t.row.dataset for t in found}):
        kept += sorted((t for t in found if t.row.dataset == dataset), key=order)[:items]
    return kept


def _scores(
    wanted: Wanted,
    manifest: Manifest,
    media: Sequence[Task],
    detectors: Sequence[FittedScorer],
    step: tuple[str, int],
    progress: Progress,
) -> list[pa.Table]:
    """One table for each detector; a kind and level is corrupted once for all that still have to score it."""
    kind, level = step
    cache = wanted.out / "scores"
    search = face_detector(inherited(manifest))
    version = reencode.version() if level and KINDS[kind].clip else ""
    how = "\n".join((RULES, kind, str(level), wanted.boxes, search.sha256, str(wanted.seed), version))
    ids = [r.item_id for t in media for r in t.known]
    keys = [key_of(d, manifest.digest, how, ids) for d in detectors]
    tables = [scores.cached(cache, key) for key in keys]
    missing = [i for i, t in enumerate(tables) if t is None]
    if missing:
        crops = damaged(media, kind if level else next(iter(KINDS)), level, wanted.boxes, search, wanted.seed)
        said = f"{kind} {level}" if level else kind
        fresh = score_crops([detectors[i].scorer for i in missing], crops, progress=lambda n: progress(said, n))
        for i, found in zip(missing, fresh, strict=True):
            scores.write(cache / keys[i].file_name, found, keys[i])
            tables[i] = found
    return [t for t in tables if t is not None]


def _limit(
    detector: FittedScorer, manifest: Manifest, table: pa.Table, valid: np.ndarray, cache: Path, progress: Progress
) -> float | None:
    """The logit where both error rates meet on clean validation rows; None where there are none of both classes."""
    if not valid.any():
        return None
    return threshold(units(scored(detector, manifest, table, valid, cache, progress)), Threshold())


def _of(table: pa.Table, dataset: str) -> pa.Table:
    return table.filter(pc.equal(table["dataset"], dataset))


def numbers(found: Stress, dataset: str) -> list[Number]:
    """Of all detectors on a data set."""
    return [n for s in found.suites for n in s.numbers if n.dataset == dataset]


def _again(wanted: Wanted, data: str, hashes: Sequence[str]) -> str:
    """The one command that gives these curves again, or refuses."""
    words = ["unmask", "eval", "robustness", wanted.data.name, "--detectors", ",".join(wanted.detectors)]
    words += [
        "--preset",
        wanted.preset,
        "--boxes",
        wanted.boxes,
        "--split",
        wanted.split,
        "--rounds",
        str(wanted.rounds),
    ]
    words += [w for d in wanted.datasets for w in ("--dataset", d)]
    words += ["--items", str(wanted.items)] * bool(wanted.items) + ["--seed", str(wanted.seed)] * bool(wanted.seed)
    return shlex.join([*words, "-o", wanted.out.name, *expecting(data, hashes)])
