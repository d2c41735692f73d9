"""One network for all workers: crops of scans that run at the same time are scored in one call.

Workers stay as they are, processes with limits of their own that are killed alone. What leaves them is pixels of one
fixed size, never a stranger's file, so that the process behind them all has nothing to parse. If it ends all the same,
it is started again, and the workers ask again.

Over a socket in a private folder: uint8 crops, at most CHUNK of them, in one message; their float32 logits and their
distances (empty where the network gives none) in two. Nothing is pickled.
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import numpy as np
from pydantic import Field

from unmask import workers
from unmask.bundles import Reading, load
from unmask.bundles.scorer import CHUNK
from unmask.scanning.options import Options
from unmask.types import Pixels, Plain, UnmaskError

LOG = logging.getLogger("unmask.serve")
POLL = 1.0  # seconds between looks whether the process lives, or between tries to reach it


class Batcher:
    """Puts crops of several callers through `score` in one call. They wait at most `wait` seconds for company, and
    only while there are others who may ask: `callers()` of them in all."""

    def __init__(self, score: Callable[[Pixels], Reading], wait: float, callers: Callable[[], int]) -> None:
        self._score, self._wait, self._callers = score, wait, callers
        self._jobs: queue.SimpleQueue[tuple[Pixels, Future[Reading]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="batcher", daemon=True).start()

    def read(self, crops: Pixels) -> Reading:
        """From any thread. Raises: whatever `score` raises."""
        future: Future[Reading] = Future()
        self._jobs.put((crops, future))
        return future.result()

    def _run(self) -> None:
        while True:
            jobs = self._gather()
            try:
                reading = self._score(np.concatenate([crops for crops, _ in jobs]))
            except Exception as error:  # noqa: BLE001 - raised again in the threads that asked
                for _, future in jobs:
                    future.set_exception(error)
                continue
            start, far = 0, reading.features_distance
            for crops, future in jobs:
                mine = slice(start, start := start + len(crops))
                future.set_result(Reading(reading.logits[mine], None if far is None else far[mine]))

    def _gather(self) -> list[tuple[Pixels, Future[Reading]]]:
        jobs = [self._jobs.get()]
        end = time.monotonic() + self._wait
        while len(jobs) < self._callers() and sum(len(crops) for crops, _ in jobs) < CHUNK:
            try:
                jobs.append(self._jobs.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                break
        return jobs


class Elsewhere:
    """A worker's way to the network: crops in, their Reading out."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Connection | None = None

    def __call__(self, crops: Pixels) -> Reading:
        """Waits for the process behind `address` as long as it takes: a scan has a time limit of its own.

        Raises: UnmaskError when the network fails on these crops.
        """
        while True:
            try:
                self._connection = self._connection or Client(self._address, "AF_UNIX")
                self._connection.send_bytes(crops.tobytes())
                logits, far = self._connection.recv_bytes(), self._connection.recv_bytes()
                break
            except (OSError, EOFError):  # not there yet, or being started again
                self.close()
                time.sleep(POLL / 10)
        if not logits:
            raise UnmaskError("the network fails on crops of its own card")
        distances = np.frombuffer(far, np.float32) if far else None
        return Reading(np.frombuffer(logits, np.float32).reshape(len(crops), -1), distances)

    def close(self) -> None:
        """After each scan: nobody waits for the company of those who do not scan."""
        if self._connection:
            self._connection.close()
        self._connection = None


class Order(Plain):
    """What the process needs to know. `options.threads`: of the network."""

    options: Options
    memory: int
    address: str
    wait: float = Field(description="seconds that crops wait for others")


class Scoring:
    """The process, seen from the service: started, watched, and started again when it ends or hangs."""

    def __init__(self, options: Options, memory: int, wait: float) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="unmask-"))  # a socket's path must be short
        self.address = str(self._folder / "scores")
        self._order = Order(options=options, memory=memory, address=self.address, wait=wait)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            worker: workers.Worker | None = None
            try:
                order = self._order.model_dump_json()
                worker = workers.Worker(__name__, order, self._order.options.seconds_per_file)
                while not self._stop.wait(POLL):
                    worker.ask("")
            except (workers.WorkerError, UnmaskError) as died:
                LOG.error("scoring: %s", died)
                self._stop.wait(POLL)
            finally:
                if worker:
                    worker.kill()


def main() -> None:
    workers.serve(_ready)


def _ready(line: bytes) -> Callable[[bytes], bytes]:
    order = Order.model_validate_json(line)
    workers.bound_memory(order.memory)
    scorer = load(order.options.detector, runtime=order.options.runtime, threads=order.options.threads)
    scans = set[Connection]()  # that run now
    batcher, most = Batcher(scorer.read, order.wait, scans.__len__), np.empty((scorer.chunk, *scorer.shape), np.uint8)
    Path(order.address).unlink(missing_ok=True)  # of a process that was killed
    listener = Listener(order.address, "AF_UNIX", backlog=256)
    threading.Thread(target=_listen, args=(listener, scans, batcher, most), daemon=True).start()

    def alive(_: bytes) -> bytes:
        batcher.read(most[:0])  # comes back when what is in the network now is done
        return b"{}"

    return alive


def _listen(listener: Listener, scans: set[Connection], batcher: Batcher, most: Pixels) -> None:
    """`most`: as many crops as one message may hold, whatever they show."""

    def answer(connection: Connection) -> None:
        with suppress(OSError, EOFError):
            while True:
                crops = np.frombuffer(connection.recv_bytes(most.nbytes), np.uint8)
                try:
                    reading = batcher.read(crops.reshape(-1, *most.shape[1:]))
                except Exception as error:  # noqa: BLE001 - the worker says it in its report; others go on
                    LOG.error("scoring: %s", error)
                    reading = Reading(np.zeros((0, 0), np.float32), None)
                connection.send_bytes(reading.logits.tobytes())
                far = reading.features_distance
                connection.send_bytes(b"" if far is None else far.tobytes())
        scans.discard(connection)
        connection.close()

    while True:
        connection = listener.accept()
        scans.add(connection)
        threading.Thread(target=answer, args=(connection,), daemon=True).start()
