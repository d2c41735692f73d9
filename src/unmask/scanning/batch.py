"""Many files: which ones, in how many processes, and what need not be scanned again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from unmask.media import Limits, MediaError
from unmask.media.sniff import HEAD, PICTURES, VIDEOS, sniff
from unmask.media.source import from_path
from unmask.scanning.ahead import within
from unmask.scanning.ledger import Ledger, asked_of
from unmask.scanning.options import Options
from unmask.scanning.pipeline import Scanner
from unmask.scanning.pool import WorkerError, scan_all
from unmask.scanning.worker import scan_safely
from unmask.types import FileReport, UnmaskError, printable

SUFFIXES = frozenset(suffix for kind in (*PICTURES.values(), *VIDEOS.values()) for suffix in kind.suffixes) - {".ts"}
# .ts is TypeScript as often as MPEG-TS: there the first bytes decide alone.
Key = tuple[int, str | None]  # position, sha256
MOST_JOBS = 8  # by default: each process takes a few hundred MB


def expand(sources: Sequence[str | Path], *, allow_url: bool = False) -> list[str]:
    """The files to scan: those named, and below each folder all that look like pictures or clips, sorted.

    In folders a file counts when its suffix or its first bytes are those of a medium: a damaged picture is reported,
    a README is not. Hidden files and symbolic links are passed over, so that a scan stays in its folder; what is named
    directly is always tried.

    Raises: UnmaskError when a path does not exist, a folder holds nothing to scan, or addresses are not allowed.
    """
    files: list[str] = []
    for source in sources:
        name = os.fspath(source)
        if is_url(name):
            if not allow_url:
                raise UnmaskError(f"{name} is an address; to fetch it say so with --url (in Python allow_url=True)")
            files.append(name)
        elif Path(name).is_dir():
            found = list(_below(Path(name)))
            if not found:
                raise UnmaskError(f"no picture or clip in {name} (hidden files and symbolic links are passed over)")
            files += found
        elif os.path.lexists(name):
            files.append(name)
        else:
            raise UnmaskError(f"no such file or folder: {name}")
    return list(dict.fromkeys(files))


def is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def default_jobs(files: int) -> int:
    """One for each core, as far as there are files, and at most MOST_JOBS."""
    return max(1, min(files, cores(), MOST_JOBS))


def scan_many(
    paths: Sequence[str], scanner: Scanner, options: Options, jobs: int, out: Path | None = None
) -> Iterator[tuple[int, FileReport]]:
    """Scans `paths`; yields (position in `paths`, report) as they finish. `scanner` is what `options` made.

    One file is scanned here, in a thread of its own, several in `jobs` processes with `options.threads` threads each;
    none may take longer than `options.seconds_per_file`. Closing the generator ends the processes at once. With `out`,
    a Parquet table, content that it knows is not scanned again, nor the same content twice in one run, and every
    answer is on disk before it is yielded.

    Raises: UnmaskError when `out` cannot be used.
    """
    with Ledger(out, asked_of(scanner)) if out else nullcontext() as ledger:
        known = _Known(ledger, scanner.limits)
        for (index, sha256), answer in _answers(known.tasks(paths), len(paths), scanner, options, jobs):
            report = scanner.failed(paths[index], str(answer)) if isinstance(answer, WorkerError) else answer
            for i in (index, *known.learn(sha256, report)):
                own = report.model_copy(update={"path": printable(paths[i]), "sha256": report.sha256 or sha256})
                if ledger:
                    ledger.add(own)
                yield i, own


def _answers(
    tasks: Iterator[tuple[Key, str | FileReport]], count: int, scanner: Scanner, options: Options, jobs: int
) -> Iterator[tuple[Key, FileReport | WorkerError]]:
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


def _below(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root) / name
            if not name.startswith(".") and not path.is_symlink() and _looks_like_media(path):
                yield str(path)


def _looks_like_media(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return False
        with path.open("rb") as file:
            return sniff(file.read(HEAD)) is not None
    except OSError:
        return False


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
