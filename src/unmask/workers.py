"""Work in processes of their own: one that crashes, hangs or is killed costs the item at hand, never the run.

Own processes rather than multiprocessing: that one runs the caller's script again in each child, and a pool of it
breaks as a whole when one child dies. Both sides speak in lines of JSON. The first line is the order, answered by {}
or {"error": text}; then one line an item, each answered by a line. When the input ends, because the parent is done or
was killed, the process ends at once, even in the middle of an item.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from unmask.types import UnmaskError

_PACKAGES = str(Path(__file__).resolve().parents[1])
# The folder that is read may hold a `json.py`: -P keeps the current directory out of the import path.
_PROGRAM = (
    "import sys; from importlib import import_module; sys.path.append(sys.argv[1]); import_module(sys.argv[2]).main()"
)
LOADING = 120.0  # seconds that a worker may take to load its parts, however busy the machine
K = TypeVar("K")
T = TypeVar("T")
A = TypeVar("A")
W = TypeVar("W", bound="Worker")
Handle = Callable[[bytes], bytes]


class WorkerError(Exception):
    """A worker ended before its answer; the text says how."""


class Worker:
    """One process that runs `main` of `module`. `seconds`: the longest that one item may take."""

    def __init__(self, module: str, order: str, seconds: float) -> None:
        """Raises: UnmaskError when the worker cannot load what the order asks for, WorkerError when it dies of it."""
        self._seconds = seconds
        self._late = 0.0  # seconds after which it was given up
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module; no path from outside
            [sys.executable, "-P", "-c", _PROGRAM, _PACKAGES, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        answer = json.loads(self._ask(order, LOADING))
        if "error" in answer:
            self.kill()
            raise UnmaskError(answer["error"])

    def ask(self, line: str) -> bytes:
        """The answer to one item, a line. Raises: WorkerError."""
        return self._ask(line, self._seconds)

    def kill(self) -> None:
        """Ends the process, even in the middle of an item. Harmless when it has ended."""
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


def ask_all(
    tasks: Iterator[tuple[K, T]],
    hire: Callable[[], W],
    ask: Callable[[Callable[[], W], T], A],
    jobs: int,
    tries: int = 1,
) -> Iterator[tuple[K, A | WorkerError]]:
    """Answers (key, task) pairs in `jobs` processes; yields (key, answer) as they finish, in no order.

    `ask(worker, task)` calls `worker()` for a process, unless it knows the answer without one. A worker that dies is
    replaced, and its item tried again by the next, `tries` times in all; then its answer is the WorkerError. Closing
    the generator ends all workers at once.
    """
    answers: queue.SimpleQueue[tuple[K, A | WorkerError] | Exception | None] = queue.SimpleQueue()
    pull, stop = threading.Lock(), threading.Event()
    workers: dict[int, W] = {}

    def end(number: int) -> None:
        worker = workers.pop(number, None)
        if worker is not None:
            worker.kill()

    def answer(number: int, task: T) -> A | WorkerError:
        died = WorkerError("never tried")
        for _ in range(tries):
            if stop.is_set():
                break
            try:
                return ask(lambda: workers.get(number) or workers.setdefault(number, hire()), task)
            except WorkerError as error:
                died = error
                end(number)
        return died

    def serve(number: int) -> None:
        try:
            while not stop.is_set():
                with pull:
                    task = next(tasks, None)
                if task is None:
                    break
                answers.put((task[0], answer(number, task[1])))
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
            got = answers.get()
            if got is None:
                left -= 1
            elif isinstance(got, Exception):
                raise got
            else:
                yield got
    finally:
        stop.set()
        for number in range(jobs):
            end(number)
        for thread in threads:
            thread.join(timeout=5)


def serve(ready: Callable[[bytes], Handle]) -> None:
    """The other side, for a module's `main`: `ready` turns the order into what answers an item's line with a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        handle = ready(lines.get())
    except UnmaskError as error:
        _answer(answers, json.dumps({"error": str(error)}).encode())
        return
    _answer(answers, b"{}")
    while True:
        _answer(answers, handle(lines.get()))


def bound_memory(most: int) -> None:
    """This process may allocate so many bytes, and leaves no dump when it crashes: that would hold faces."""
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _listen(lines: queue.SimpleQueue[bytes]) -> None:
    while line := sys.stdin.buffer.readline():
        lines.put(line)
    os._exit(0)  # the main thread may be deep in a codec: nothing is left to wait for


def _answer(answers: BinaryIO, line: bytes) -> None:
    answers.write(line + b"\n")
    answers.flush()
