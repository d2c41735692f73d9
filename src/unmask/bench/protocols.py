"""A protocol, detectors and crops in, a table out: each crop scored once, cached under the hashes it depends on."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bench.attacked import under_attack
from unmask.bench.entries import Entries, is_recipe
from unmask.bench.maps import draw
from unmask.bench.options import Options, expecting
from unmask.bench.scorers import BASELINE, FittedScorer, Progress, Sides, expect, scored
from unmask.bench.training import Steps
from unmask.data.manifest import Manifest
from unmask.errors import ManifestError, RecipeError
from unmask.measure.cells import Cell, Judged, best_of, cell, threshold
from unmask.measure.protocol import BY_THRESHOLD, Mask, Protocol
from unmask.measure.tables import Result
from unmask.measure.units import Units, pairing, units


@dataclass(frozen=True, kw_only=True)
class Wanted(Options):
    """
    Attributes:
        called: the protocol, by a name or a path.
        seeds: trainings of each recipe; empty = the seed that the recipe names.
        maps: crops of each kind in images of spectra and features; 0 = none are drawn.
        expect_protocol: its hash; "" = whichever it has.
    """

    protocol: Protocol
    called: str
    seeds: tuple[int, ...] = ()
    maps: int = 0
    expect_protocol: str = ""


@dataclass(frozen=True)
class Column:
    """A column: the rows to learn from, those to test on, how many frames count, and what is done to the fakes."""

    name: str
    sides: Sides
    test: Mask
    frames: int | None = None
    attack: str = ""


def run(
    wanted: Wanted, progress: Progress | None = None, steps: Steps = lambda what, done, of: None
) -> tuple[Result, dict[tuple[str, str], Units]]:
    """Trains what is to be trained, measures, and keeps runs and scores in `out`.

    Returns: the table, and the units behind each (detector, column), for images; of several seeds the first.
    Raises: UnmaskError where an expected hash differs, a protocol finds no rows, or a detector cannot take part.
    """
    protocol = wanted.protocol
    expect("protocol", wanted.expect_protocol, protocol.digest)
    manifest, table = wanted.opened(media=True)
    columns = list(_columns(protocol, table))
    names = [name for name in wanted.detectors if _may(name, protocol)]
    entries = Entries(names, manifest, table, wanted.runs or wanted.out, wanted.seeds)
    sides = [column.sides for column in columns]
    hashes = entries.hashes(sides, wanted.expect_bundles)
    entries.train(sides, wanted.how, steps)
    bench = Bench(manifest, table, protocol, wanted.out / "scores", progress)
    cells = [c for column in columns for c in bench.column(column, entries)]
    if wanted.maps:
        draw([(c.name, c.test, entries.runs(c.sides)) for c in columns], manifest, wanted.maps, wanted.out)
    again = _again(wanted, manifest.digest, hashes)
    result = Result.of(protocol, cells, manifest.digest, entries.labels, hashes, again, entries.notes())
    return result, bench.units


class Bench:
    """Scores, pools and counts, one column after the other."""

    def __init__(
        self, manifest: Manifest, table: pa.Table, protocol: Protocol, cache: Path, progress: Progress | None
    ) -> None:
        self.manifest, self.table, self.protocol, self.cache = manifest, table, protocol, cache
        self.progress = progress
        self.units: dict[tuple[str, str], Units] = {}
        self.original = _originals(table)
        self.thresholds: dict[tuple[str, bytes], float | None] = {}

    def column(self, column: Column, entries: Entries) -> list[Cell]:
        """The cells of all detectors and metrics, the best marked where it is better than the second best."""
        judged = []
        for label, trainings in zip(entries.labels, entries.fit(column.sides), strict=True):
            found = tuple(self._units(one, column.test, column) for one in trainings)
            limits = tuple(self._threshold(one, column.sides.validate) for one in trainings)
            judged.append(Judged(label, found, limits))
            self.units[label, column.name] = found[0]
        cells: list[Cell] = []
        for metric in self.protocol.metrics:
            how = self.protocol.interval
            some = [cell(one, column.name, metric, how, self.original) for one in judged]
            best = best_of(some, judged, how, self.original)
            cells += [replace(c, best=i == best) for i, c in enumerate(some)]
        return cells

    def _units(self, detector: FittedScorer, mask: Mask, column: Column | None = None) -> Units:
        if column and column.attack:
            detector = under_attack(detector, column.attack)
        table = scored(detector, self.manifest, self.table, mask, self.cache, self.progress)
        found = units(table, self.protocol.level, self.protocol.pooling, column.frames if column else None)
        return pairing(found, self.original, self.protocol.pairing) if column else found

    def _threshold(self, detector: FittedScorer, valid: Mask) -> float | None:
        if not set(self.protocol.metrics) & set(BY_THRESHOLD) or not valid.any():
            return None
        key = detector.sha256, valid.tobytes()
        if key not in self.thresholds:
            self.thresholds[key] = threshold(self._units(detector, valid), self.protocol.threshold)
        return self.thresholds[key]


def _columns(protocol: Protocol, table: pa.Table) -> Iterator[Column]:
    train, test = protocol.train.mask(table), protocol.test.mask(table)
    sides = Sides(train, protocol.validate_.mask(table) & ~test)
    if (train & test).any():
        raise RecipeError(f"protocol {protocol.name!r} tests on rows that it trains on: mend its filters")
    if not test.any():
        raise RecipeError(f"protocol {protocol.name!r} finds no test rows in this manifest: see `unmask data show`")
    kind = protocol.columns
    text = {n: np.asarray([v or "" for v in table[n].to_pylist()], str) for n in ("dataset", "method", "compression")}
    real = np.asarray(table["label"].fill_null(-1).to_numpy()) == 0
    if kind == "all":
        yield Column("all", sides, test)
    elif kind == "attack":
        yield Column("untouched", sides, test)
        yield from (Column(one, sides, test, attack=one) for one in protocol.attacks)
    elif kind in ("dataset", "compression"):
        for value in np.unique(text[kind][test]):
            yield Column(str(value) or "none named", sides, test & (text[kind] == value))
    elif kind == "own":
        yield from _own(sides, test, text["dataset"], real)
    elif kind == "frames":
        part = table.filter(pa.array(test))
        shown = {*zip(part["media_id"].to_pylist(), part["frame"].to_pylist(), strict=True)}
        most = max(Counter(media for media, _ in shown).values())  # "32 frames" of videos that have 8 would be a lie
        kept = [n for n in protocol.frames if n <= most] or [most]
        yield from (Column(f"{n} frame{'s' * (n > 1)}", sides, test, frames=n) for n in kept)
    else:
        among = train if kind == "trained_on" else test
        media, original = (np.asarray(table[n].to_pylist(), str) for n in ("media_id", "pair_key"))
        for dataset, method in sorted(
            {*zip(text["dataset"][among & ~real], text["method"][among & ~real], strict=True)}
        ):
            this = (text["dataset"] == dataset) & (text["method"] == method)
            # Its own data set's reals; what `unmask data forge` made has them in another one.
            beside = (text["dataset"] == dataset) | np.isin(media, original[this & test])
            alone = test & (this | (real & beside))
            # What is held out chooses no checkpoint and no threshold either.
            kept = {"held_out": ~this, "trained_on": real | this}.get(kind, np.ones(len(this), bool))
            held_out = (method,) if kind == "held_out" else ()
            learnt = Sides(sides.train & kept, sides.validate & kept, held_out)
            yield Column(f"{dataset}/{method}", learnt, test if kind == "trained_on" else alone)


def _own(sides: Sides, test: Mask, dataset: NDArray[Any], real: Mask) -> Iterator[Column]:
    """Each data set that has both classes to learn from and to test on."""
    found = 0
    for value in np.unique(dataset[test]):
        this = dataset == value
        if all(len(np.unique(real[this & part])) == 2 for part in (sides.train, test)):
            found += 1
            yield Column(str(value), Sides(sides.train & this, sides.validate & this), test & this)
    if not found:
        raise ManifestError("no data set has real and forged rows both to learn from and to test on")


def _may(name: str, protocol: Protocol) -> bool:
    """True. Raises: UnmaskError for finished detectors where the protocol trains."""
    if protocol.trains and name != BASELINE and not is_recipe(name):
        raise RecipeError(
            f"{protocol.name} trains each detector anew for each column, and {name!r} is finished: "
            f"only recipes and {BASELINE} can take part"
        )
    return True


def _originals(table: pa.Table) -> dict[str, str]:
    """Video of a forgery -> video of its original; a manifest of faces repeats the media's `pair_key`."""
    rows = zip(table["media_id"].to_pylist(), table["pair_key"].to_pylist(), table["label"].to_pylist(), strict=True)
    return {media: pair for media, pair, label in rows if label == 1 and pair}


def _again(wanted: Wanted, data: str, hashes: Sequence[str]) -> str:
    """The one command that gives this table again, or refuses."""
    words = ["unmask", "eval", "bench", wanted.called, wanted.data.name, "--detectors", ",".join(wanted.detectors)]
    words += ["--seeds", ",".join(map(str, wanted.seeds))] * bool(wanted.seeds)
    words += ["-o", wanted.out.name, "--expect-protocol", wanted.protocol.digest]
    return shlex.join([*words, *expecting(data, hashes)])
