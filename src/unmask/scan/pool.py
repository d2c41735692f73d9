"""Many files at once, each worker in a process of its own that can crash, hang or be killed without harm to the rest.

Own processes rather than multiprocessing: that one runs the caller's script again in each child, and a pool of it
breaks as a whole when one child dies.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from unmask.nouns import FileReport, UnmaskError
from unmask.scan.options import Options
from unmask.scan.worker import read_answer

_PACKAGES = str(Path(__file__).resolve().parents[2])
# The folder that is scanned may hold a `json.py`: -P keeps the current directory out of the import path.
_COMMAND = [
    sys.executable,
    "-P",
    "-c",
    "import sys; sys.path.append(sys.argv[1]); from unmask.scan.worker import main; main()",
    _PACKAGES,
]
LOADING = 120.0  # seconds that a worker may take to load its detector, however busy the machine
K = TypeVar("K")


class WorkerError(Exception):
    """A worker ended before its answer; the text says how."""


class Worker:
    """One process. `seconds`: the longest that one file may take."""

    def __init__(self, options: Options, seconds: float) -> None:
        self._seconds = seconds
        self._late = 0.0  # seconds after which it was given up
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module; no path from outside
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        answer = json.loads(self._ask(options.model_dump_json(), LOADING))
        if "error" in answer:
            self.kill()
            raise UnmaskError(answer["error"])

    def scan(self, path: str) -> FileReport:
        """Raises: WorkerError."""
        return read_answer(self._ask(json.dumps(path), self._seconds))

    def kill(self) -> None:
        """Ends the process, even in the middle of a file. Harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, line: str, seconds: float) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self._too_late, (seconds,))
        timer.start()
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):  # ended, or ended and closed by kill()
            answer = b""
        finally:
            timer.cancel()
        if not answer.endswith(b"\n"):
            raise WorkerError(self._how())
        return answer

    def _too_late(self, seconds: float) -> None:
        self._late = seconds
        self._process.kill()

    def _how(self) -> str:
        if self._late:
            return f"given up after {self._late:g} s"
        code = self._process.wait()
        if code < 0:
            return f"the process that read it was ended by {signal.Signals(-code).name}"
        return f"the process that read it ended with code {code}"


def scan_all(
    tasks: Iterator[tuple[K, str | FileReport]], options: Options, jobs: int, seconds: float
) -> Iterator[tuple[K, FileReport | WorkerError]]:
    """Scans (key, path) pairs in `jobs` processes; yields (key, report) as they finish, in no order.

    A task whose report is known already is handed through. A worker that dies is replaced; its file's answer is the
    WorkerError. Closing the generator ends all workers at once.
    """
    answers: queue.SimpleQueue[tuple[K, FileReport | WorkerError] | Exception | None] = queue.SimpleQueue()
    pull, stop = threading.Lock(), threading.Event()
    workers: dict[int, Worker] = {}

    def end(number: int) -> None:
        worker = workers.pop(number, None)
        if worker is not None:
            worker.kill()

    def serve(number: int) -> None:
        try:
            while not stop.is_set():
                with pull:
                    task = next(tasks, None)
                if task is None:
                    break
                key, path = task
                if isinstance(path, FileReport):
                    answers.put((key, path))
                    continue
                try:
                    worker = workers.get(number) or workers.setdefault(number, Worker(options, seconds))
                    answers.put((key, worker.scan(path)))
                except WorkerError as died:
                    answers.put((key, died))
                    end(number)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            answers.put(error)
        finally:
            end(number)
            answers.put(None)

    threads = [threading.Thread(target=serve, args=(n,), daemon=True) for n in range(jobs)]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            answer = answers.get()
            if answer is None:
                left -= 1
            elif isinstance(answer, Exception):
                raise answer
            else:
                yield answer
    finally:
        stop.set()
        for number in range(jobs):
            end(number)
        for thread in threads:
            thread.join(timeout=5)
