"""Threads that take scans from the queue, each with a worker process of its own, and one that does maintenance."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from unmask.app.serve.hub import Hub
from unmask.app.serve.metrics import Metrics
from unmask.app.serve.models import DONE, FAILED, Scan
from unmask.app.serve.settings import Settings
from unmask.app.serve.store import ATTEMPTS, Result, Store
from unmask.app.serve.worker import Order, Task, Wishes, Worker
from unmask.scanning.options import report_of
from unmask.scanning.pipeline import Scanner
from unmask.scanning.words import telling
from unmask.types import FileReport
from unmask.workers import WorkerError

LOG = logging.getLogger("unmask.serve")
POLL = 1.0  # seconds between looks for work that another server accepted, or signs of life
SWEEP = 60.0  # seconds between looks for what has outlived its time
FORGOTTEN = 3600.0  # seconds after which a file that belongs to no scan is a broken upload


class Runners:
    """What runs scans. `scanner` is only asked for what reports have in common; `scores`: see `worker.Order`."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        scanner: Scanner,
        hub: Hub,
        metrics: Metrics,
        scores: str | None = None,
    ) -> None:
        self._store, self._settings, self._scanner, self._hub, self._metrics = store, settings, scanner, hub, metrics
        self._who = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(8)}"
        self._order = Order(options=settings.options, memory=settings.memory, scores=scores)
        self._work, self._stop, self._lock = threading.Condition(), threading.Event(), threading.Lock()
        self._running: dict[str, Worker] = {}
        self._ready = 0
        self._threads = [threading.Thread(target=self._run, name=f"runner-{n}") for n in range(settings.workers)]
        self._keeper = threading.Thread(target=self._keep_house, name="keeper")

    def start(self) -> None:
        for thread in (*self._threads, self._keeper):
            thread.daemon = True
            thread.start()

    @property
    def ready(self) -> bool:
        """All workers have loaded their detector."""
        return self._ready >= len(self._threads)

    @property
    def running(self) -> int:
        return len(self._running)

    def wake(self) -> None:
        """There is work."""
        with self._work:
            self._work.notify()

    def cancel(self, key: str) -> None:
        """Ends a scan that was deleted, if it runs here."""
        with self._lock:
            worker = self._running.get(key)
        if worker:
            worker.kill()

    def stop(self, grace: float) -> None:
        """Lets running scans end for `grace` seconds; what is not done by then goes back into the queue."""
        self._stop.set()
        with self._work:
            self._work.notify_all()
        end = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            left = dict(self._running)
        for key, worker in left.items():
            self._store.release(key, self._who, innocent=True)
            worker.kill()
        for thread in (*self._threads, self._keeper):
            thread.join(5)

    # --- one runner --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        worker: Worker | None = None
        while not self._stop.is_set():
            try:
                worker = worker or self._hire()
                scan = self._store.claim(self._who)
                if scan is None:
                    with self._work:
                        self._work.wait(POLL)
                elif not self._scan(worker, scan):
                    worker = None
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment must not end the runner
                LOG.error("runner: %s", error)
                self._stop.wait(POLL)
        if worker:
            worker.kill()

    def _hire(self) -> Worker:
        worker = Worker(self._order, self._settings.options.seconds_per_file)
        self._ready = min(self._ready + 1, len(self._threads))
        return worker

    def _scan(self, worker: Worker, scan: Scan) -> bool:
        """Runs one scan to its end. Returns whether the worker lives."""
        wishes = Wishes.model_validate_json(scan.wishes)
        source = scan.url or str(self._settings.media / str(scan.media))
        task = Task(source=source, shown=scan.name, wishes=wishes, progress=str(self._progress(scan.id)))
        if scan.attempts > ATTEMPTS:
            self._finish(scan, wishes, self._scanner.failed(scan.name, f"given up: {ATTEMPTS} processes ended on it"))
            return True
        with self._lock:
            self._running[scan.id] = worker
        self._hub.tell(scan.id)
        try:
            file = worker.scan(task)
        except WorkerError as died:
            worker.kill()
            late = str(died).startswith("given up")
            if late or scan.attempts == ATTEMPTS:
                self._finish(scan, wishes, self._scanner.failed(scan.name, str(died)))
            else:
                self._store.release(scan.id, self._who, innocent=False)
            return False
        finally:
            with self._lock:
                del self._running[scan.id]
            self._progress(scan.id).unlink(missing_ok=True)
        self._finish(scan, wishes, file, died=False)
        return True

    def _finish(self, scan: Scan, wishes: Wishes, file: FileReport, *, died: bool = True) -> None:
        report = report_of(wishes.applied(self._scanner)).model_copy(update={"files": (file,)})
        text = report.model_dump_json(by_alias=True)
        result = Result(FAILED if died else DONE, text, file.state, telling(file).score, file)
        if self._store.finish(scan.id, self._who, result):
            self._metrics.finished(scan, file)
        self._hub.tell(scan.id)

    def _progress(self, key: str) -> Path:
        return self._settings.media / f"{key}.progress"

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        swept = float("-inf")
        while not self._stop.wait(POLL / 2):
            jobs: list[Callable[[], None]] = [self._renew, self._store.wiped]
            if time.monotonic() - swept > SWEEP:
                swept = time.monotonic()
                jobs.append(self.sweep)
            for job in jobs:
                try:
                    job()
                except Exception as error:  # noqa: BLE001 - as in `_run`
                    LOG.error("housekeeping: %s", error)

    def _renew(self) -> None:
        with self._lock:
            running = dict(self._running)
        for key, worker in running.items():
            progress: float | None = None  # before the first frame, and after the last
            with suppress(OSError, ValueError):
                progress = float(self._progress(key).read_text("ascii"))
            if not self._store.renew(key, self._who, progress) and key in self._running:
                worker.kill()  # deleted, here or through another server
            self._hub.tell(key)

    def sweep(self) -> None:
        """Deletes media and reports that have outlived their time, and what broken uploads left behind."""
        now, media = time.time(), self._settings.media
        expired = self._store.expired_media(now - self._settings.keep)
        for name in expired:  # first: it makes the space that a full disk lacks for writing so
            (media / name).unlink(missing_ok=True)
        self._store.media_gone(expired)
        self._store.forget(now - self._settings.keep_reports)
        known = self._store.media_names()
        for path in media.iterdir():
            with suppress(OSError):
                if path.name not in known and path.stat().st_mtime < now - FORGOTTEN:
                    path.unlink()
