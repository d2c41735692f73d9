"""What an untrusted file may cost, and the error that says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from unmask.errors import MediaError as MediaError

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What one file may cost. Every limit is checked before the cost is paid, as far as the format allows.

    Attributes:
        bytes: size of the file or download.
        pixels: width x height of one image, as the file claims it and as the decoder finds it.
        seconds: length of a video.
        frames: number of frames of a video, read or promised.
        decode_seconds: time spent on opening, and again on each pass of `Media.frames`; the caller's own time between
            two frames does not count.
    """

    bytes: int = 4 << 30
    pixels: int = 80_000_000
    seconds: float = 4 * 3600.0
    frames: int = 1_000_000
    decode_seconds: float = 120.0

    def check(self, name: str, found: float) -> None:
        """Raises MediaError if `found` is over the limit called `name`."""
        allowed = getattr(self, name)
        if found > allowed:
            raise MediaError(over(name, found, allowed))


def over(name: str, found: float, allowed: float) -> str:
    """The one wording of every broken limit."""
    what = {
        "bytes": "bytes in the file",
        "pixels": "pixels in one image",
        "seconds": "seconds of video",
        "frames": "frames in the video",
        "decode_seconds": "seconds spent on decoding",
    }[name]
    option = "--max-" + name.replace("_", "-")
    return f"over the limit: {found:,.0f} {what}, {allowed:,.0f} allowed; raise Limits.{name} ({option}) to read it"


DEFAULTS = Limits()


class Clock:
    """Seconds spent inside `with clock:` blocks."""

    def __init__(self, allowed: float) -> None:
        self.allowed = allowed
        self._spent = 0.0
        self._since: float | None = None

    @property
    def spent(self) -> float:
        return self._spent + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def left(self) -> float:
        return max(self.allowed - self.spent, 0.0)

    def check(self) -> None:
        if self.spent > self.allowed:
            raise MediaError(over("decode_seconds", self.spent, self.allowed))

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """The same items, with the time that `items` takes, and not its consumer, on the clock."""
        while True:
            with self:
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def __enter__(self) -> Clock:
        self._since = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spent, self._since = self.spent, None
