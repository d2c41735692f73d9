"""Many files: in how many processes, and what need not be scanned again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from unmask.media import Limits, MediaError
from unmask.media.source import from_path
from unmask.scanning.ahead import within
from unmask.scanning.ledger import Ledger, asked_of
from unmask.scanning.listing import is_url
from unmask.scanning.options import Options
from unmask.scanning.pipeline import Scanner
from unmask.scanning.pool import WorkerError, scan_all
from unmask.scanning.sources import InMemory, called, opened
from unmask.scanning.worker import scan_safely
from unmask.types import FileReport, printable

Key = tuple[int, str | None]  # position, sha256
MOST_JOBS = 8  # by default: each process takes a few hundred MB


def default_jobs(files: int) -> int:
    """One for each core, as far as there are files, and at most MOST_JOBS."""
    return max(1, min(files, cores(), MOST_JOBS))


def scan_many(
    sources: Sequence[str | InMemory], scanner: Scanner, options: Options, jobs: int, out: Path | None = None
) -> Iterator[tuple[int, FileReport]]:
    """Scans `sources`; yields (position among them, report) as they finish. `scanner` is what `options` made.

    One file is scanned here, in a thread of its own, several in `jobs` processes with `options.threads` threads each;
    none may take longer than `options.seconds_per_file`. Closing the generator ends the processes at once. What is in
    memory is scanned here. With `out`, a Parquet table, content that it knows is not scanned again, nor the same
    content twice in one run, and every answer is on disk before it is yielded.

    Raises: UnmaskError when `out` cannot be used.
    """
    files = [(i, source) for i, source in enumerate(sources) if isinstance(source, str)]
    paths = [path for _, path in files]
    with Ledger(out, asked_of(scanner)) if out else nullcontext() as ledger:
        for i, source in enumerate(sources):
            if not isinstance(source, str):
                yield i, _in_memory(source, scanner, ledger)
        known = _Known(ledger, scanner.limits)
        for (index, sha256), answer in _answers(known.tasks(paths), len(paths), scanner, options, jobs):
            report = scanner.failed(paths[index], str(answer)) if isinstance(answer, WorkerError) else answer
            for i in (index, *known.learn(sha256, report)):
                own = report.model_copy(update={"path": printable(paths[i]), "sha256": report.sha256 or sha256})
                if ledger:
                    ledger.add(own)
                yield files[i][0], own


def _in_memory(source: InMemory, scanner: Scanner, ledger: Ledger | None) -> FileReport:
    """The report on bytes or pixels; in the table it stands under its hash, for it has no name."""
    try:
        media = opened(source, scanner.limits)
        known = ledger.find(media.sha256) if ledger else None
        report = known.model_copy(update={"path": media.source}) if known else scanner.scan_media(media)
    except MediaError as error:
        return scanner.failed(called(source), str(error))
    except Exception as error:  # noqa: BLE001 - one of several must not end the scan; the report names the error
        return scanner.failed(called(source), f"unexpected {type(error).__name__}: {error}")
    if ledger:
        ledger.add(report.model_copy(update={"path": f"memory:{report.sha256}"}))
    return report


def _answers(
    tasks: Iterator[tuple[Key, str | FileReport]], count: int, scanner: Scanner, options: Options, jobs: int
) -> Iterator[tuple[Key, FileReport | WorkerError]]:
    if not count:
        return
    if count > 1 or jobs > 1:
        yield from scan_all(tasks, options, min(jobs, count), options.seconds_per_file)
        return
    for key, task in tasks:  # a process of its own would cost more than one file
        yield key, task if isinstance(task, FileReport) else _alone(scanner, task, options.seconds_per_file)


def _alone(scanner: Scanner, path: str, seconds: float) -> FileReport | WorkerError:
    return within(seconds, lambda: scan_safely(scanner, path)) or WorkerError(f"given up after {seconds:g} s")


class _Known:
    """Which content is known or at hand, so that none is scanned twice."""

    def __init__(self, ledger: Ledger | None, limits: Limits) -> None:
        self._ledger, self._limits = ledger, limits
        self._at_hand: dict[str, list[int]] = {}  # sha256 -> later positions of the same content
        self._lock = threading.Lock()

    def tasks(self, paths: Sequence[str]) -> Iterator[tuple[Key, str | FileReport]]:
        """((position, sha256), path to scan or the answer that is known). Runs in the threads of the pool."""
        for index, path in enumerate(paths):
            sha256 = self._hash(path) if self._ledger else None
            if sha256 is None or self._ledger is None:
                yield (index, sha256), path
                continue
            with self._lock:
                answer = self._ledger.find(sha256)
                if answer is None and sha256 in self._at_hand:
                    self._at_hand[sha256].append(index)
                    continue
                self._at_hand[sha256] = []
            yield (index, sha256), answer or path

    def learn(self, sha256: str | None, report: FileReport) -> list[int]:
        """Other positions that `report` answers too."""
        with self._lock:
            if self._ledger and sha256 and report.sha256:
                self._ledger.learn(report)
            return self._at_hand.pop(sha256, []) if sha256 else []

    def _hash(self, path: str) -> str | None:
        try:
            return None if is_url(path) else from_path(Path(path), self._limits).sha256
        except MediaError:
            return None  # whoever scans it will say why


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
