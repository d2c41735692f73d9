"""The service behind a socket: uvicorn with its strict parser, deadlines for slow senders, one server a folder."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from unmask.app.serve.api import create_app
from unmask.app.serve.settings import Settings
from unmask.types import UnmaskError

HEADERS = 16 << 10  # bytes of a request's head
HEADER_SECONDS = 15.0  # for sending it
CONNECTIONS = 512
HEADS = 384  # connections whose next request is not complete: with more, the one that has waited longest is let go


class Patient(H11Protocol):
    """Patient, but not for ever: who opens a connection and does not finish a request's head is let go, and sooner
    where many do so: those who ask something must find a place."""

    _heads: ClassVar[dict[Patient, None]] = {}  # in the order in which they began to wait
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and self._waiting():
            self._wait()
        super().data_received(data)
        if self._deadline and not self._waiting():
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._late)
        self._heads[self] = None
        if len(self._heads) > HEADS:
            next(iter(self._heads))._late()

    def _stop(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None
        self._heads.pop(self, None)

    def _waiting(self) -> bool:
        """For the head of a request."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or bool(cycle.response_complete)

    def _late(self) -> None:
        self._stop()
        if self._waiting() and not self.transport.is_closing():
            self.transport.close()


def serve(settings: Settings, *, quiet: bool = False) -> None:
    """Runs until it is told to stop. Raises: UnmaskError when it cannot start."""
    with _alone(settings):
        app = create_app(settings)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Patient,
            ws="none",
            h11_max_incomplete_event_size=HEADERS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=int(settings.grace) + 5,
            limit_concurrency=CONNECTIONS,
            server_header=False,
            proxy_headers=False,
            log_level="warning" if quiet else "info",
            access_log=not quiet,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run()


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Holds the folder for this process where the database is a file in it."""
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.db.startswith("postgres") or sys.platform == "win32":
        yield
        return
    import fcntl

    with Path(settings.folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnmaskError(
                f"another service is running on {settings.folder}; choose another --data, or several servers on "
                "PostgreSQL with --db"
            ) from error
        yield
