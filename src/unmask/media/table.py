"""The table of a video's packets: one cheap pass that reads the container and decodes nothing."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from unmask.media.limits import Clock, Limits, MediaError, over

# What PyAV raises when libav gives up.
LIBAV = (av.error.FFmpegError, OSError, ValueError, EOFError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class Table:
    """What the container says of packets, in file order, and of frames, in presentation order.

    Attributes:
        pts: of each packet, in units of the stream's time base. Empty if not `timed`.
        keys: whether a decoder may start at the packet.
        sizes: bytes.
        shown: file positions of the packets that become frames, in presentation order.
        times: seconds of these frames from the first, ascending, then those of the frames that were promised and are
            not in the file.
        seconds: from the first frame to the end of the last.
        timed: frames are known by their timestamps; if not, they are counted.
        ended: why reading stopped before the end, or "".
    """

    pts: tuple[int, ...]
    keys: tuple[bool, ...]
    sizes: tuple[int, ...]
    shown: tuple[int, ...]
    times: tuple[float, ...]
    seconds: float
    timed: bool
    ended: str

    @property
    def missing(self) -> int:
        """Frames that the file promises and does not hold."""
        return len(self.times) - len(self.shown)


@dataclass
class _Packets:
    """Columns being read."""

    pts: list[int | None]
    dts: list[int | None]
    duration: list[int]
    key: list[bool]
    size: list[int]
    shown: list[bool]
    ended: str = ""


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """The stream's packets, without the empty one that PyAV adds at the end."""
    for packet in container.demux(stream):
        if packet.size or packet.pts is not None or packet.dts is not None:
            yield packet


def read_table(container: InputContainer, stream: VideoStream, size: int, limits: Limits, clock: Clock) -> Table:
    """Read every packet's header. `size`: bytes of the file.

    Raises:
        MediaError: no packet at all, or more frames or seconds than `limits` allow.
    """
    read = _read(container, stream, limits, clock)
    if not any(read.shown):
        raise MediaError(f"no frame of the video can be read{': ' + read.ended if read.ended else ''}")
    base = float(stream.time_base or 0) or 1 / 90_000
    stamps = [p for p, shown in zip(read.pts, read.shown, strict=True) if shown]
    timed = all(p is not None for p in stamps) and not _guessed(stream)
    shown, ticks = _order(read, timed, _frame(stream, base))
    step = _step(ticks, read.duration, stream, base)
    promised = _promised(stream, size, len(read.pts))
    limits.check("frames", len(shown) + promised)
    times = [(tick - ticks[0]) * base for tick in ticks]
    times += [times[-1] + step * (i + 1) for i in range(promised)]
    seconds = times[-1] + (step if promised else _last(read, shown, step, base))
    limits.check("seconds", seconds)
    pts = tuple(p if p is not None else 0 for p in read.pts) if timed else ()
    return Table(pts, tuple(read.key), tuple(read.size), tuple(shown), tuple(times), seconds, timed, read.ended)


def _read(container: InputContainer, stream: VideoStream, limits: Limits, clock: Clock) -> _Packets:
    read = _Packets([], [], [], [], [], [])
    vp8 = stream.codec_context.name == "vp8"
    try:
        for number, packet in enumerate(packets(container, stream)):
            if number % 256 == 0:
                clock.check()
                if number > limits.frames:
                    raise MediaError(over("frames", number, limits.frames))
            read.pts.append(packet.pts)
            read.dts.append(packet.dts)
            read.duration.append(packet.duration or 0)
            read.key.append(packet.is_keyframe)
            read.size.append(packet.size)
            # VP8 stores images that are never shown as packets of their own (RFC 6386, 9.1: the show_frame bit).
            hidden = vp8 and packet.size > 0 and not bytes(packet)[0] & 0x10
            read.shown.append(packet.size > 0 and not packet.is_discard and not hidden)
    except LIBAV as error:
        read.ended = damage(error)
    return read


def _guessed(stream: VideoStream) -> bool:
    """AVI stores no presentation times. For reordered H.264 and HEVC libavformat makes some up, and they are wrong."""
    return (
        stream.container.format.name == "avi"
        and stream.codec_context.name in ("h264", "hevc")
        and bool(stream.codec_context.has_b_frames)
    )


def _frame(stream: VideoStream, base: float) -> int:
    """Ticks of one frame where the file says nothing of its times: raw streams know their rate at most."""
    rate = stream.average_rate or stream.guessed_rate or 25
    return max(round(1 / (float(rate) * base)), 1)


def _order(read: _Packets, timed: bool, step: int) -> tuple[list[int], list[int]]:
    """Positions in presentation order with their ticks; of two packets with one timestamp the first counts.

    step: ticks from one frame to the next where there are no timestamps at all.
    """
    positions = [i for i, shown in enumerate(read.shown) if shown]
    if timed:
        by_stamp: dict[int, int] = {}
        for i in positions:
            by_stamp.setdefault(read.pts[i] or 0, i)
        ticks = sorted(by_stamp)
        return [by_stamp[tick] for tick in ticks], ticks
    decode = [read.dts[i] for i in positions]
    if all(d is not None for d in decode):
        return positions, sorted(d for d in decode if d is not None)
    return positions, [i * step for i in range(len(positions))]


def _step(ticks: list[int], durations: list[int], stream: VideoStream, base: float) -> float:
    """Seconds between two frames, for where the file does not say how long the last one stays."""
    if len(ticks) > 1:
        gaps = sorted(b - a for a, b in itertools.pairwise(ticks))
        return gaps[len(gaps) // 2] * base
    rate = stream.average_rate
    return 1 / float(rate) if rate else max(durations, default=0) * base


def _last(read: _Packets, shown: list[int], step: float, base: float) -> float:
    stays = read.duration[shown[-1]] * base
    return stays if 0 < stays <= 60 else step


def _promised(stream: VideoStream, size: int, seen: int) -> int:
    """Frames that the index lists and a cut file no longer holds. Only indexes that are exact are believed."""
    family = stream.container.format.name
    if "mov" in family:
        entries = stream.index_entries
        at = len(entries) - 1
        while at >= 0 and entries[at].pos + entries[at].size > size:
            at -= 1
        return max(min(len(entries) - 1 - at, len(entries) - seen), 0)
    return max(stream.frames - seen, 0) if family == "avi" else 0


def reason(error: BaseException) -> str:
    """libav's errors in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def damage(error: BaseException) -> str:
    """The same for a file in memory or on disk, where libav's words for devices and streams ("resource busy", "end of
    file") only mean that its content is not what it should be."""
    if isinstance(error, EOFError):
        return "it ends before the first frame"
    code = getattr(error, "errno", None)
    return "its content is damaged" if code in _SYSTEM else reason(error)


_SYSTEM = {errno.EBUSY, errno.EAGAIN, errno.EPERM, errno.ENOENT, errno.EIO, errno.EACCES, errno.EINVAL, errno.EPIPE}
