"""A protocol, detectors and crops in, a table out: each crop scored once, cached under the hashes it depends on."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from unmask.bench.judges import FLOOR, Detector, Finished, Floor, Progress, judge_of, same, same_detectors, scored
from unmask.data.manifest import Manifest
from unmask.measure.cells import Cell, best_of, cell, threshold
from unmask.measure.protocol import BY_THRESHOLD, Mask, Protocol
from unmask.measure.tables import Result
from unmask.measure.units import Units, pairing, units
from unmask.nouns import UnmaskError


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for. `expect_*`: hashes that must be found again, empty = whatever is there."""

    protocol: Protocol
    called: str
    detectors: tuple[str, ...]
    data: Path
    out: Path
    expect_data: str = ""
    expect_bundles: tuple[str, ...] = ()
    expect_protocol: str = ""


@dataclass(frozen=True)
class Column:
    """A column: the rows that train and test, and how many frames count."""

    name: str
    train: Mask
    test: Mask
    frames: int | None = None


def run(wanted: Wanted, progress: Progress | None = None) -> tuple[Result, dict[tuple[str, str], Units]]:
    """Measures, and keeps the scores in `out/scores`.

    Returns: the table, and the units behind each (detector, column), for pictures.
    Raises: UnmaskError where an expected hash differs, a protocol finds no rows, or a detector cannot take part.
    """
    manifest, protocol = Manifest(wanted.data), wanted.protocol
    same("protocol", wanted.expect_protocol, protocol.digest)
    same("data", wanted.expect_data, manifest.digest)
    if manifest.kind != "faces":
        raise UnmaskError(f"{wanted.data} lists media, not faces: cut the crops with `unmask faces` first")
    table = manifest.table(list(manifest.arrow_schema.names))
    columns = list(_columns(protocol, table))
    rows = [judge_of(name, manifest, table) for name in wanted.detectors if _may(name, protocol)]
    hashes = tuple(row.digest([c.train for c in columns]) for row in rows)
    same_detectors(wanted.expect_bundles, hashes)
    bench = Bench(manifest, table, protocol, wanted.out / "scores", progress)
    cells = [
        c
        for column in columns
        for c in bench.column(column, [(n, r) for n, r in zip(wanted.detectors, rows, strict=True)])
    ]
    return Result.of(protocol, cells, manifest.digest, wanted.detectors, hashes, _again(wanted, hashes)), bench.units


class Bench:
    """Scores, pools and counts, one column after the other."""

    def __init__(
        self, manifest: Manifest, table: pa.Table, protocol: Protocol, cache: Path, progress: Progress | None
    ) -> None:
        self.manifest, self.table, self.protocol, self.cache = manifest, table, protocol, cache
        self.progress = progress
        self.units: dict[tuple[str, str], Units] = {}
        self.original = _originals(table)
        self.valid = protocol.validate_.mask(table) & ~protocol.test.mask(table)
        self.thresholds: dict[str, float | None] = {}

    def column(self, column: Column, rows: Sequence[tuple[str, Finished | Floor]]) -> list[Cell]:
        """The cells of all detectors and metrics, the best marked where it is better than the second best."""
        judged = []
        for name, row in rows:
            detector = row.fit(column.train)
            found = self._units(detector, column.test, column)
            self.units[name, column.name] = found
            judged.append((name, found, self._threshold(detector)))
        cells: list[Cell] = []
        for metric in self.protocol.metrics:
            how = self.protocol.interval
            some = [cell(n, column.name, u, metric, how, t, self.original) for n, u, t in judged]
            best = best_of(some, [u for _, u, _ in judged], how, self.original)
            cells += [replace(c, best=i == best) for i, c in enumerate(some)]
        return cells

    def _units(self, detector: Detector, mask: Mask, column: Column | None = None) -> Units:
        table = scored(detector, self.manifest, self.table, mask, self.cache, self.progress)
        found = units(table, self.protocol.level, self.protocol.pooling, column.frames if column else None)
        return pairing(found, self.original, self.protocol.pairing) if column else found

    def _threshold(self, detector: Detector) -> float | None:
        if not set(self.protocol.metrics) & set(BY_THRESHOLD) or not self.valid.any():
            return None
        if detector.sha256 not in self.thresholds:
            found = self._units(detector, self.valid)
            self.thresholds[detector.sha256] = threshold(found, self.protocol.threshold)
        return self.thresholds[detector.sha256]


def _columns(protocol: Protocol, table: pa.Table) -> Iterator[Column]:
    train, test = protocol.train.mask(table), protocol.test.mask(table)
    if (train & test).any():
        raise UnmaskError(f"protocol {protocol.name!r} tests on rows that it trains on: mend its filters")
    if not test.any():
        raise UnmaskError(f"protocol {protocol.name!r} finds no test rows in this manifest: see `unmask data show`")
    kind = protocol.columns
    text = {n: np.asarray([v or "" for v in table[n].to_pylist()], str) for n in ("dataset", "method", "compression")}
    real = np.asarray(table["label"].fill_null(-1).to_numpy()) == 0
    if kind == "all":
        yield Column("all", train, test)
    elif kind in ("dataset", "compression"):
        for value in np.unique(text[kind][test]):
            yield Column(str(value) or "none named", train, test & (text[kind] == value))
    elif kind == "frames":
        part = table.filter(pa.array(test))
        shown = {*zip(part["media_id"].to_pylist(), part["frame"].to_pylist(), strict=True)}
        most = max(Counter(media for media, _ in shown).values())  # "32 frames" of clips that have 8 would be a lie
        kept = [n for n in protocol.frames if n <= most] or [most]
        yield from (Column(f"{n} frame{'s' * (n > 1)}", train, test, frames=n) for n in kept)
    else:
        among = test if kind == "method" else train
        for dataset, method in sorted(
            {*zip(text["dataset"][among & ~real], text["method"][among & ~real], strict=True)}
        ):
            this = (text["dataset"] == dataset) & (text["method"] == method)
            alone = test & (this | (real & (text["dataset"] == dataset)))
            learnt = {"held_out": train & ~this, "trained_on": train & (real | this)}.get(kind, train)
            yield Column(f"{dataset}/{method}", learnt, test if kind == "trained_on" else alone)


def _may(name: str, protocol: Protocol) -> bool:
    """True. Raises: UnmaskError for bundles where the protocol trains."""
    if protocol.trains and name != FLOOR and not name.endswith((".yaml", ".yml")):
        raise UnmaskError(
            f"{protocol.name} trains each detector anew for each column; the bundle {name!r} is finished: "
            f"only {FLOOR} can take part so far"
        )
    return True


def _originals(table: pa.Table) -> dict[str, str]:
    """Clip of a forgery -> clip of its original; a manifest of faces repeats the media's `pair_key`."""
    rows = zip(table["media_id"].to_pylist(), table["pair_key"].to_pylist(), table["label"].to_pylist(), strict=True)
    return {media: pair for media, pair, label in rows if label == 1 and pair}


def _again(wanted: Wanted, hashes: Sequence[str]) -> str:
    """The one command that gives this table again, or refuses."""
    words = ["unmask", "bench", wanted.called, "--detectors", ",".join(wanted.detectors)]
    words += ["--data", wanted.data.name, "-o", wanted.out.name, "--expect-protocol", wanted.protocol.digest]
    words += ["--expect-data", Manifest(wanted.data).digest]
    words += [w for h in hashes for w in ("--expect-bundle", h)]
    return shlex.join(words)
