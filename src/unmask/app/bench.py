"""A protocol, detectors and crops in, a table out: each crop scored once, cached under the hashes it depends on."""

from __future__ import annotations

import hashlib
import shlex
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bundles import Scorer, load
from unmask.data import degrade
from unmask.data.manifest import Manifest
from unmask.measure import scores
from unmask.measure.cells import Cell, best_of, cell, threshold
from unmask.measure.protocol import BY_THRESHOLD, Degrade, Mask, Protocol
from unmask.measure.spectrum import radial_spectrum
from unmask.measure.tables import Result
from unmask.measure.units import Units, pairing, units
from unmask.nouns import Pixels, UnmaskError
from unmask.train.scoring import Margins, by_bundle, chosen, crops_of, score_rows

FLOOR = "spectrum"
Progress = Callable[[str, int], None]


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
class Detector:
    """A row of the table: its name, the hash of all that its scores depend on, and how it scores."""

    name: str
    sha256: str
    judge: Margins


@dataclass(frozen=True)
class Column:
    """A column: the rows that train and test, how test crops are spoilt, how many frames count."""

    name: str
    train: Mask
    test: Mask
    spoil: Degrade | None = None
    step: float = 0.0
    frames: int | None = None


def run(wanted: Wanted, progress: Progress | None = None) -> tuple[Result, dict[tuple[str, str], Units]]:
    """Measures, and keeps the scores in `out/scores`.

    Returns: the table, and the units behind each (detector, column), for pictures.
    Raises: UnmaskError where an expected hash differs, a protocol finds no rows, or a detector cannot take part.
    """
    manifest, protocol = Manifest(wanted.data), wanted.protocol
    _same("protocol", wanted.expect_protocol, protocol.digest)
    _same("data", wanted.expect_data, manifest.digest)
    if manifest.kind != "faces":
        raise UnmaskError(f"{wanted.data} lists media, not faces: cut the crops with `unmask faces` first")
    table = manifest.table(list(manifest.arrow_schema.names))
    columns = list(_columns(protocol, table))
    finished = {name: Finished(load(name)) for name in wanted.detectors if _finished(name, protocol)}
    rows = [finished.get(name) or Floor(manifest, table) for name in wanted.detectors]
    hashes = tuple(row.digest(columns) for row in rows)
    if wanted.expect_bundles and wanted.expect_bundles != hashes:
        raise UnmaskError(
            f"the detectors are not those of that table: expected {', '.join(wanted.expect_bundles)}, these are "
            f"{', '.join(hashes)}"
        )
    bench = Bench(manifest, table, protocol, wanted.out / "scores", progress)
    cells = [
        c
        for column in columns
        for c in bench.column(column, [(n, r) for n, r in zip(wanted.detectors, rows, strict=True)])
    ]
    return Result.of(protocol, cells, manifest.digest, wanted.detectors, hashes, _again(wanted, hashes)), bench.units


class Finished:
    """A bundle: the same scores whatever the protocol's training rows are."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        card = scorer.card
        said = "" if card.calibration is None else card.calibration.model_dump_json()
        parts = (scorer.weights_sha256, scorer.runtime, card.input.model_dump_json(), ",".join(card.classes), said)
        self.sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def digest(self, columns: Sequence[Column]) -> str:
        return self.sha256

    def fit(self, train: Mask) -> Detector:
        return Detector(self.scorer.card.name, self.sha256, by_bundle(self.scorer))


class Floor:
    """A linear model on the radial power spectrum of the stored crops, fitted on the protocol's training rows.

    Its hash is that of what it is fitted on: the last digits of its coefficients differ between machines.
    """

    def __init__(self, manifest: Manifest, table: pa.Table) -> None:
        self.manifest, self.table = manifest, table
        self.fitted: dict[str, Detector] = {}

    def sha256(self, train: Mask) -> str:
        ids = np.asarray(self.table["item_id"].to_pylist(), str)[train]
        return hashlib.sha256("\n".join(["spectrum/1", self.manifest.digest, *sorted(ids)]).encode()).hexdigest()

    def digest(self, columns: Sequence[Column]) -> str:
        each = sorted({self.sha256(c.train) for c in columns})
        return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()

    def fit(self, train: Mask) -> Detector:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        sha256 = self.sha256(train)
        if sha256 in self.fitted:
            return self.fitted[sha256]
        rows = [r for r in chosen(self.manifest, lambda _: train) if not r["reason"]]
        label = np.array([r["label"] for r in rows])
        if len(np.unique(label)) < 2:
            raise UnmaskError(
                "the spectrum floor needs training rows of both classes; this protocol's filters leave none"
            )
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(np.stack([radial_spectrum(c) for c in crops_of(self.manifest, rows)]), label)

        def judge(crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], None]:
            return model.decision_function(np.stack([radial_spectrum(c) for c in crops])), None

        self.fitted[sha256] = Detector(FLOOR, sha256, judge)
        return self.fitted[sha256]


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
        table = self._scores(detector, mask, column)
        found = units(table, self.protocol.level, self.protocol.pooling, column.frames if column else None)
        return pairing(found, self.original, self.protocol.pairing) if column else found

    def _scores(self, detector: Detector, mask: Mask, column: Column | None) -> pa.Table:
        spoil = column.spoil if column else None
        ids = self.table["item_id"].filter(pa.array(mask)).to_pylist()
        what = [self.manifest.digest, f"{spoil.kind} {column.step:g}" if spoil and column else "", *ids]
        key = scores.Key(detector.name, detector.sha256, hashlib.sha256("\n".join(what).encode()).hexdigest())
        if (held := scores.cached(self.cache, key)) is not None:
            return held
        step = _step(spoil.kind, column.step) if spoil and column else None

        def advance(n: int) -> None:
            if self.progress:
                self.progress(detector.name, n)

        table = score_rows(detector.judge, self.manifest.path, where=lambda _: mask, spoil=step, progress=advance)
        scores.write(self.cache / key.file_name, table, key)
        return table

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
    elif kind == "degrade":
        yield Column("as it is", train, test)
        for spoil in protocol.degrade:
            yield from (Column(f"{spoil.kind} {s:g}", train, test, spoil, s) for s in spoil.steps)
    else:
        among = test if kind == "method" else train
        for dataset, method in sorted(
            {*zip(text["dataset"][among & ~real], text["method"][among & ~real], strict=True)}
        ):
            this = (text["dataset"] == dataset) & (text["method"] == method)
            alone = test & (this | (real & (text["dataset"] == dataset)))
            learnt = {"held_out": train & ~this, "trained_on": train & (real | this)}.get(kind, train)
            yield Column(f"{dataset}/{method}", learnt, test if kind == "trained_on" else alone)


def _finished(name: str, protocol: Protocol) -> bool:
    """False for the floor. Raises: UnmaskError for recipes, and for bundles where the protocol trains."""
    if name == FLOOR:
        return False
    if name.endswith((".yaml", ".yml")):
        raise UnmaskError(f"bench does not train recipes yet: train {name} first and give the path of its bundle")
    if protocol.trains:
        raise UnmaskError(
            f"{protocol.name} trains each detector anew for each column; the bundle {name!r} is finished: "
            f"only {FLOOR} can take part so far"
        )
    return True


def _originals(table: pa.Table) -> dict[str, str]:
    """Clip of a forgery -> clip of its original; a manifest of faces repeats the media's `pair_key`."""
    rows = zip(table["media_id"].to_pylist(), table["pair_key"].to_pylist(), table["label"].to_pylist(), strict=True)
    return {media: pair for media, pair, label in rows if label == 1 and pair}


def _step(kind: str, step: float) -> Callable[[Pixels], Pixels]:
    if kind == "jpeg":
        return lambda crop: degrade.jpeg(crop, round(step))
    if kind == "resize":
        return lambda crop: degrade.resized(crop, step)
    if kind == "blur":
        return lambda crop: degrade.blurred(crop, step)
    # From the crop itself, so that neither order nor batch changes what is added.
    return lambda crop: degrade.noisy(crop, step, np.random.default_rng(zlib.crc32(crop.tobytes())))


def _same(what: str, expected: str, found: str) -> None:
    if expected and expected != found:
        raise UnmaskError(f"the {what} is not that of the table: expected {expected}, this is {found}")


def _again(wanted: Wanted, hashes: Sequence[str]) -> str:
    """The one command that gives this table again, or refuses."""
    words = ["unmask", "bench", wanted.called, "--detectors", ",".join(wanted.detectors)]
    words += ["--data", wanted.data.name, "-o", wanted.out.name, "--expect-protocol", wanted.protocol.digest]
    words += ["--expect-data", Manifest(wanted.data).digest]
    words += [w for h in hashes for w in ("--expect-bundle", h)]
    return shlex.join(words)
