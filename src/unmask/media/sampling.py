"""Which frames to look at, and which packets must be decoded for them. Pure functions on timestamps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """Packets `start` to `end` (both included, in file order) go to a decoder that starts afresh at `start`."""

    start: int
    end: int


def spread(times: Sequence[float], seconds: float, count: int) -> list[int]:
    """Indices of the frames on screen at the middles of `count` equal parts of the video, without repeats.

    times: ascending, seconds from the first frame. seconds: from the first frame to the end of the last.
    """
    return showing(times, [(i + 0.5) / count * seconds for i in range(count)])


def showing(times: Sequence[float], moments: Sequence[float]) -> list[int]:
    """Indices of the frames on screen at these seconds, in order and without repeats."""
    return sorted({max(bisect_right(times, t) - 1, 0) for t in moments}) if times else []


def windows(frames: int, count: int, length: int) -> list[int]:
    """First frames of at most `count` windows of `length` frames in a row, in the middles of equal parts of a video.

    Windows do not overlap: a video of fewer than `count` x `length` frames has fewer of them, one too short has none.
    """
    count = min(count, frames // length)
    return [int((i + 0.5) * frames / count - length / 2) for i in range(count)]


def runs(pts: Sequence[int], keys: Sequence[bool], wanted: Sequence[int]) -> list[Run]:
    """The shortest stretches of the file that show the `wanted` packets (positions in file order).

    A stretch begins at a keyframe. A frame that is shown before the keyframe it follows in the file (a leading frame of
    an open group of images) leans on the group before, so its stretch begins one keyframe earlier. Stretches that
    touch are one: a decoder that is already there need not start again.
    """
    starts = [position for position, key in enumerate(keys) if key]
    found: list[Run] = []
    for position in sorted(wanted):
        at = bisect_right(starts, position) - 1
        while at > 0 and pts[position] < pts[starts[at]]:
            at -= 1
        start = starts[at] if at >= 0 else 0
        if found and start <= found[-1].end + 1:
            found[-1] = Run(found[-1].start, max(found[-1].end, position))
        else:
            found.append(Run(start, position))
    return found
