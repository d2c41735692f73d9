"""`unmask scan --on ray`: the same answers as a local scan, from as many machines as a Ray cluster has.

Two passes. The first hashes every file. The second scans each content once that has no answer yet, in parts: a worker
answers all of a part and writes it as one file. A part whose worker dies is given out again by Ray, and goes on where
its journal ends.
As in a local scan the file itself is read in a process of its own: a codec that crashes or hangs costs one file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unmask._version import __version__
from unmask.app import cluster
from unmask.app.cluster import HOST, Careful, Journal, located, sized
from unmask.app.results import LISTED, Results, file_of, write
from unmask.errors import InputError, UnmaskError
from unmask.media import Limits, MediaError
from unmask.media.source import from_path
from unmask.scanning.evidence import note
from unmask.scanning.ledger import asked_of, row_of
from unmask.scanning.listing import is_url
from unmask.scanning.options import Options
from unmask.scanning.pool import Worker, WorkerError
from unmask.types import DetectorInfo, FileReport, State, printable

SMALLEST, LARGEST = 8, 1024  # files in a part
HASHED = 4096  # files hashed by one task


def scan(
    paths: Sequence[str],
    options: Options,
    out: Path,
    address: str | None = None,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[State, int]:
    """Scans `paths` into the folder `out`, which every host must see under the same name, as it must the files.

    workers: at most so many files at once; otherwise as many as the cluster has processors for.
    progress: called with the stage ("hashing", "scanning"), how many are newly done, and how many there are.

    Returns: how many paths are in which state.

    Raises: UnmaskError when `out` cannot be used, a path is an address, or Ray gives up.
    """
    if any(map(is_url, paths)):
        raise InputError("--on ray reads files only; fetch addresses first, or leave out --on ray")
    files = [str(Path(path).absolute()) for path in paths]
    options = options.model_copy(
        update={name: located(getattr(options, name)) for name in ("detector", "whole", "faces")}
    )
    scanner = options.ready()
    question = {
        "asked": asked_of(scanner),
        "version": __version__,
        "settings": scanner.settings.model_dump(mode="json"),
        "detector": scanner.detector.model_dump(mode="json"),
    }
    with (
        Results(out.absolute(), question) as results,
        cluster.cluster(address, workers and workers * options.threads) as cpus,
    ):
        workers = workers or max(1, cpus // options.threads)
        hashed = cluster.each(_listings(files), listed, {"limits": options.limits}, workers)
        results.list_paths(_counted(hashed, "hashing", len(files), progress))
        results.forget_failed()
        todo = results.unanswered(again=True)
        arguments = {
            "options": options.model_dump_json(),
            "detector": scanner.detector.model_dump_json(),
            "version": __version__,
            "asked": question["asked"],
            "answers": str(results.answers),
        }
        done = cluster.each(_parts(todo, files, workers), Answer, arguments, workers, options.threads)
        for _ in _counted(done, "scanning", len(todo), progress):
            pass
        results.prove()
        return results.states()


def listed(block: pa.Table, limits: Limits) -> pa.Table:
    """Hashes files: a block of (position, path) -> LISTED."""
    rows = []
    for row in block.to_pylist():
        name = os.fsdecode(row["path"])
        found: dict[str, Any] = {"position": row["position"], "path": printable(name)}
        try:
            source = from_path(Path(name), limits)
            rows.append(found | {"sha256": source.sha256, "bytes": source.size})
        except MediaError as error:
            rows.append(found | {"reason": str(error)})
    return pa.Table.from_pylist(rows, LISTED)


class Answer:
    """An actor that scans one part after another: (sha256, path) -> (state)."""

    def __init__(self, options: str, detector: str, version: str, asked: str, answers: str) -> None:
        wanted = Options.model_validate_json(options)
        self._careful = Careful(lambda: Worker(wanted, wanted.seconds_per_file), version)
        self._detector, self._asked, self._answers = DetectorInfo.model_validate_json(detector), asked, Path(answers)

    def __call__(self, part: pa.Table) -> pa.Table:
        file = file_of(self._answers, part["sha256"].to_pylist())
        if not file.exists():  # else a worker died after it wrote, and before it said so
            with Journal(file.with_suffix(Journal.SUFFIX)) as journal:
                for row in part.to_pylist():
                    if row["sha256"] not in journal.done:
                        journal.add(row["sha256"], self._row(row["sha256"], os.fsdecode(row["path"]), journal))
                write(file, list(journal.done.values()))
            journal.path.unlink()
        return pq.ParquetFile(file).read(["state"])

    def _row(self, sha256: str, path: str, journal: Journal) -> dict[str, object]:
        report = self._careful.ask(sha256, journal, lambda worker: worker.scan(path))
        if isinstance(report, WorkerError):
            report = self._failed(path, str(report))
        elif report.detector != self._detector:
            raise UnmaskError(f"{HOST} has other weights of {self._detector.name}; install the same on every host")
        elif report.sha256 and report.sha256 != sha256:
            report = self._failed(path, f"{path} changed while the scan ran; scan it again once it is complete")
        return row_of(report.model_copy(update={"path": printable(path), "sha256": sha256}), self._asked)

    def _failed(self, path: str, why: str) -> FileReport:
        return FileReport(path=path, state="failed", reasons=(why,), evidence=(note(why),), detector=self._detector)


def _listings(files: Sequence[str]) -> list[pa.Table]:
    """File names as bytes, because not every name is UTF-8."""
    return [
        pa.table(
            {
                "position": range(start, min(start + HASHED, len(files))),
                "path": pa.array(map(os.fsencode, files[start : start + HASHED]), pa.binary()),
            }
        )
        for start in range(0, len(files), HASHED)
    ]


def _parts(todo: Sequence[tuple[str, int]], files: Sequence[str], workers: int) -> list[pa.Table]:
    """Cuts `todo`, sorted by hash, so that all of a part begins with the same digit."""
    size = sized(len(todo), workers, SMALLEST, LARGEST)
    cut, part = list[list[tuple[str, int]]](), list[tuple[str, int]]()
    for sha256, position in todo:
        if part and (len(part) == size or part[0][0][0] != sha256[0]):
            cut.append(part)
            part = []
        part.append((sha256, position))
    return [
        pa.table(
            {
                "sha256": pa.array([sha256 for sha256, _ in part], pa.string()),
                "path": pa.array([os.fsencode(files[position]) for _, position in part], pa.binary()),
            }
        )
        for part in [*cut, part]
        if part
    ]


def _counted(
    tables: Iterator[pa.Table], stage: str, total: int, progress: Callable[[str, int, int], None]
) -> Iterator[pa.Table]:
    progress(stage, 0, total)
    for table in tables:
        progress(stage, table.num_rows, total)
        yield table
