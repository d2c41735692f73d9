"""News of scans, from the threads that run them to the requests that wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Hub:
    """`tell` from any thread wakes those who listen to that scan. Only a hint: the truth stands in the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self.closing = False

    def tell(self, key: str) -> None:
        with self._lock:
            ears = list(self._ears.get(key, ()))
        for loop, event in ears:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Nobody needs to wait any longer: the service ends."""
        self.closing = True
        for key in list(self._ears):
            self.tell(key)

    @contextmanager
    def listening(self, key: str) -> Iterator[asyncio.Event]:
        ear = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._ears.setdefault(key, []).append(ear)
        try:
            yield ear[1]
        finally:
            with self._lock:
                self._ears[key].remove(ear)
                if not self._ears[key]:
                    del self._ears[key]


async def heard(event: asyncio.Event, seconds: float) -> None:
    """Waits for news, at most so long, and makes ready for the next."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
