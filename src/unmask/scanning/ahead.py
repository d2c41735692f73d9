"""Work beside this thread: the next items are made in advance, and what takes too long is left behind.

Daemon threads, because a codec that is stuck in a damaged file must not keep the process from ending.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], most: int = 2) -> Iterator[T]:
    """The same items in the same order, up to `most` of them made in advance. An error comes where the item would.

    Closing the returned generator stops the other thread after the item at hand.
    """
    asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
    made: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def make() -> None:
        while asked.get():
            made.put(_tried(lambda: next(items, None)))

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        for _ in range(most + 1):
            asked.put(True)
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            asked.put(True)
            yield item
    finally:
        while not asked.empty():
            asked.get()
        asked.put(False)
        thread.join()


def within(seconds: float, work: Callable[[], T]) -> T | None:
    """What `work` returns, or None when it takes longer than `seconds`: it goes on by itself until the process ends."""
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    threading.Thread(target=lambda: done.put(_tried(work)), name="within", daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        return None
    if error is not None:
        raise error
    return result


def _tried(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
        return None, error
