"""Many files at once, scanned in processes of their own; see `unmask.workers`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from unmask import workers
from unmask.scanning.options import Options
from unmask.scanning.worker import read_answer
from unmask.types import FileReport
from unmask.workers import WorkerError, ask_all

__all__ = ["Worker", "WorkerError", "scan_all"]
K = TypeVar("K")


class Worker(workers.Worker):
    """A process that scans. `seconds`: the longest that one file may take."""

    def __init__(self, options: Options, seconds: float) -> None:
        super().__init__("unmask.scanning.worker", options.model_dump_json(), seconds)

    def scan(self, path: str) -> FileReport:
        """Raises: WorkerError."""
        return read_answer(self.ask(json.dumps(path)))


def scan_all(
    tasks: Iterator[tuple[K, str | FileReport]], options: Options, jobs: int, seconds: float
) -> Iterator[tuple[K, FileReport | WorkerError]]:
    """Scans (key, path) pairs in `jobs` processes; yields (key, report) as they finish, in no order.

    A task whose report is known already is handed through. A worker that dies is replaced; its file's answer is the
    WorkerError. Closing the generator ends all workers at once.
    """

    def ask(worker: Callable[[], Worker], task: str | FileReport) -> FileReport:
        return task if isinstance(task, FileReport) else worker().scan(task)

    return ask_all(tasks, lambda: Worker(options, seconds), ask, jobs)
