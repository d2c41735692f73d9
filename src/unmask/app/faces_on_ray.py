"""`unmask data extract --on ray`: media are cut on all machines of a Ray cluster; rows are gathered and written here.

As in a local run every file is cut in a process of its own, its crops are on disk before its row is in the journal,
and cutting it twice writes the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from unmask._version import __version__
from unmask.app import cluster
from unmask.app.cluster import Careful, Journal, sized
from unmask.data import extraction
from unmask.data.crop_files import WORK
from unmask.data.extraction import Elsewhere, Task
from unmask.workers import Worker, WorkerError

LARGEST = 64  # media in a block
WAITING = 100_000  # media that are given to Ray at a time: their rows wait in memory


@contextmanager
def machines(address: str | None, workers: int | None, out: Path, seconds: float) -> Iterator[Elsewhere]:
    """For `extraction.cut`: asks the cluster at `address`, or one that is started here.

    Args:
        workers: media at once; otherwise as many as the cluster has processors.
        out: the folder of crops, absolute; every host must see it under the same name, as it must the media.
        seconds: for one media file, after which its process is ended.
    Raises: UnmaskError as `cluster.cluster`.
    """
    with cluster.cluster(address, workers) as cpus:
        yield lambda tasks, order: _asked(tasks, order, workers or cpus, out / WORK, seconds)


def _asked(
    tasks: Iterator[Task], order: str, workers: int, notes: Path, seconds: float
) -> Iterator[tuple[Task, bytes | WorkerError]]:
    arguments: dict[str, Any] = {"order": order, "seconds": seconds, "version": __version__, "notes": str(notes)}
    while waiting := {task.at: task for task in islice(tasks, WAITING)}:
        for table in cluster.each(_blocks([*waiting.values()], workers), Cut, arguments, workers):
            for row in table.to_pylist():
                yield waiting[row["at"]], WorkerError(row["died"]) if row["answer"] is None else row["answer"]


class Cut:
    """An actor: (at, line) -> (at, answer or how its process died)."""

    def __init__(self, order: str, seconds: float, version: str, notes: str) -> None:
        self._careful = Careful(lambda: Worker(extraction.__name__, order, seconds), version)
        self._notes = Path(notes)

    def __call__(self, block: pa.Table) -> pa.Table:
        rows = block.to_pylist()
        with Journal(self._notes / f"{rows[0]['at']}{Journal.SUFFIX}") as journal:
            for row in rows:
                name = str(row["at"])
                if name not in journal.done:
                    journal.add(name, self._answer(name, row["line"], journal))
            return pa.table(
                {
                    "at": [row["at"] for row in rows],
                    "answer": pa.array([journal.done[str(row["at"])][0] for row in rows], pa.string()).cast(
                        pa.binary()
                    ),
                    "died": pa.array([journal.done[str(row["at"])][1] for row in rows], pa.string()),
                }
            )

    def _answer(self, name: str, line: str, journal: Journal) -> tuple[str | None, str | None]:
        answer = self._careful.ask(name, journal, lambda worker: worker.ask(line))
        return (None, str(answer)) if isinstance(answer, WorkerError) else (answer.decode(), None)


def _blocks(tasks: list[Task], workers: int) -> list[pa.Table]:
    size = sized(len(tasks), workers, 1, LARGEST)
    return [
        pa.table({"at": [task.at for task in some], "line": [task.line() for task in some]})
        for some in (tasks[start : start + size] for start in range(0, len(tasks), size))
    ]
