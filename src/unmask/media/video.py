"""Clips: open a container, sample frames evenly in time, decode no more than is needed to see them."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from unmask.media import pixels, sampling
from unmask.media.limits import Clock, Limits, MediaError, over
from unmask.media.sniff import Kind
from unmask.media.source import Source
from unmask.media.table import LIBAV, Table, damage, packets, read_table
from unmask.types import Frame, Unread

Way = Literal["auto", "sequential", "seek"]

_END: Any = object()
_LOST = "the file's index leads to the wrong place"

# Bytes that are quicker read past than sought across.
WORTH_A_SEEK = 4 << 20
# Codecs whose decoder knows an image that no other leans on, exactly: it need not be decoded unless it is wanted.
# (HEVC's flag says so only within one temporal layer; VP9 and AV1 have none.)
DROPPABLE = {"h264", "mpeg4", "mpeg2video", "mpeg1video"}


@dataclass(frozen=True)
class Clip:
    """An opened clip: all that is known without decoding more than its first image."""

    source: Source
    kind: Kind
    limits: Limits
    table: Table
    how: pixels.Upright
    width: int
    height: int
    codec: str
    metadata: dict[str, str]
    notes: tuple[str, ...]

    @property
    def fps(self) -> float | None:
        held = self.table.times
        return (len(held) - 1) / held[-1] if len(held) > 1 and held[-1] > 0 else None

    def frames(self, count: int, way: Way = "auto") -> Iterator[Frame | Unread]:
        """At most `count` frames evenly spaced in time. `way` changes what it costs, never the frames."""
        return self._on_the_clock(sampling.spread(self.table.times, self.table.seconds, count), way)

    def frames_at(self, seconds: Sequence[float], way: Way = "auto") -> Iterator[Frame | Unread]:
        """The frames on screen at these moments, in order, each once."""
        return self._on_the_clock(sampling.showing(self.table.times, seconds), way)

    def windows(self, count: int, length: int, way: Way = "auto") -> Iterator[Frame | Unread]:
        """The frames of at most `count` windows of `length` frames in a row, see `sampling.windows`."""
        starts = sampling.windows(len(self.table.times), count, length)
        return self._on_the_clock([first + i for first in starts for i in range(length)], way)

    def _on_the_clock(self, wanted: Sequence[int], way: Way) -> Iterator[Frame | Unread]:
        clock = Clock(self.limits.decode_seconds)
        return clock.timed(self._frames(wanted, way, clock))

    def _frames(self, wanted: Sequence[int], way: Way, clock: Clock) -> Iterator[Frame | Unread]:
        here = [i for i in wanted if i < len(self.table.shown)]
        passes: list[Way] = [way, "sequential"] if way != "sequential" and self.table.timed else ["sequential"]
        why = ""
        done = 0
        for kind in passes:
            # The second pass runs only if the first missed a frame: it starts at the beginning and drops nothing.
            last = kind == passes[-1]
            decoder = _Decoder(self, here[done:], kind, thorough=last, clock=clock)
            for item in decoder.frames():
                if isinstance(item, Unread) and not last:
                    break
                done += 1
                yield item
            why = decoder.why
            if done == len(here):
                break
        for i in here[done:]:
            yield Unread(i, self.table.times[i], why or "the decoder gave no image")
        for i in wanted[len(here) :]:
            yield Unread(i, self.table.times[i], "the file ends before this frame")


class _Reader:
    """What libav may do with the file: read and seek. A damaged index seeks to impossible places: that is an answer
    (EINVAL), not an exception that PyAV would print."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell = file.read, file.tell
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL


@contextmanager
def opened(file: BinaryIO, kind: Kind, limits: Limits, clock: Clock) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A container and its video stream.

    libav sees a Python file, one named demuxer and no protocol at all, so that nothing inside the file can make it open
    another file or address.
    """
    options = {"max_pixels": str(limits.pixels), "protocol_whitelist": "none", "format_whitelist": _whitelist(kind)}
    seconds = max(clock.left, 0.001)
    try:
        container = av.open(
            _Reader(file),
            mode="r",
            format=kind.name,
            options=options,
            buffer_size=1 << 17,
            timeout=(seconds, seconds),
            metadata_errors="replace",
        )
    except LIBAV as error:
        raise MediaError(f"looks like {kind.format}, but cannot be opened: {damage(error)}") from error
    with container:
        yield container, _stream(container, kind, limits)


def _whitelist(kind: Kind) -> str:
    return "mov,mp4,m4a,3gp,3g2,mj2" if kind.name == "mov" else f"{kind.name},matroska,webm"


def _stream(container: InputContainer, kind: Kind, limits: Limits) -> VideoStream:
    """The stream that a player shows: of those marked as default the largest, else the largest."""
    seen = _videos(container)
    if not seen:
        raise MediaError(f"this {kind.format} file has no video in it")
    known = [s for s in seen if getattr(s, "codec_context", None) is not None]  # PyAV: None where there is no decoder
    if not known:
        raise MediaError("the video's codec is unknown to FFmpeg; convert the video to H.264 in MP4")
    stream = max(known, key=lambda s: (bool(s.disposition & Disposition.default), (s.width or 0) * (s.height or 0)))
    limits.check("pixels", (stream.width or 0) * (stream.height or 0))
    stream.codec_context.options = {"max_pixels": str(limits.pixels)}
    stream.thread_type = "AUTO"
    return stream


def _videos(container: InputContainer) -> list[VideoStream]:
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _others(container: InputContainer, stream: VideoStream) -> Iterator[str]:
    """What else there is to see in the file, and is not looked at."""
    videos = _videos(container)
    if len(videos) > 1:
        number = 1 + next(i for i, other in enumerate(videos) if other.index == stream.index)
        size = f"{stream.width}×{stream.height}"
        yield f"holds {len(videos)} video streams; only number {number} ({size}) is looked at"
    if len(container.streams.video) > len(videos):
        yield "holds a cover image, which is not looked at"


def open_video(source: Source, kind: Kind, limits: Limits) -> Clip:
    """Raises MediaError: not readable, nothing to see, or over a limit."""
    clock = Clock(limits.decode_seconds)
    with clock, source.open() as file:
        with opened(file, kind, limits, clock) as (container, stream):
            table = read_table(container, stream, source.size, limits, clock)
            metadata = {**container.metadata, **stream.metadata}
            codec = stream.codec_context.name
            others = tuple(_others(container, stream))
        file.seek(0)
        first = _first(file, kind, limits, clock)
    aspect = first.sample_aspect_ratio if first else None
    how = pixels.upright(first.frame, aspect) if first else pixels.Upright()
    stored = (first.frame.width, first.frame.height) if first else (stream.width, stream.height)
    width, height = how.size(*stored)
    limits.check("pixels", width * height)
    notes = [*others, *_notes(table)]
    hdr = pixels.HDR.get(first.frame.color_trc) if first else None
    if hdr == "PQ":
        notes.append("HDR video (PQ): mapped to the range of a standard display, bright parts are squeezed")
    elif hdr:
        notes.append(f"HDR video ({hdr}): shown without tone mapping, colours look flat")
    return Clip(source, kind, limits, table, how, width, height, codec, metadata, tuple(notes))


@dataclass(frozen=True)
class _First:
    frame: Any
    sample_aspect_ratio: Any


def _first(file: BinaryIO, kind: Kind, limits: Limits, clock: Clock) -> _First | None:
    """The first image that can be decoded: only it tells rotation, and the true size where a header lies."""
    with opened(file, kind, limits, clock) as (container, stream):
        stream.thread_type = "SLICE"  # frame threads would decode several images to return one
        feed = itertools.chain(itertools.islice(packets(container, stream), 64), [None])  # None: give what you hold
        while True:
            clock.check()
            try:
                packet = next(feed, _END)
                frames = stream.decode(packet) if packet is not _END else []
            except LIBAV:
                continue
            if frames or packet is _END:
                return _First(frames[0], stream.sample_aspect_ratio) if frames else None


def _notes(table: Table) -> Iterator[str]:
    if table.missing:
        yield f"the file is cut off: {table.missing} of {len(table.times)} frames are not in it"
    if table.ended:
        yield f"reading stopped at {table.times[len(table.shown) - 1]:.1f} s: {table.ended}"
    if not table.timed:
        yield "the file does not say when its frames are shown: they are counted instead"


class _Decoder:
    """One pass over a file for some wanted frames (indices in presentation order), in order."""

    def __init__(self, clip: Clip, wanted: Sequence[int], way: Way, thorough: bool, clock: Clock) -> None:
        table = clip.table
        self.clip, self.table, self.wanted, self.clock = clip, table, list(wanted), clock
        self.positions = {table.shown[i] for i in wanted}
        self.way = way
        self.drop = not thorough and clip.codec in DROPPABLE
        if thorough or not table.timed:
            self.plan = [sampling.Run(0, len(table.keys) - 1)]
        elif way == "sequential":
            self.plan = [sampling.Run(0, max(self.positions, default=0))]
        else:
            self.plan = sampling.runs(table.pts, table.keys, sorted(self.positions))
        self.why = ""
        self.count = 0

    def frames(self) -> Iterator[Frame | Unread]:
        """A Frame or an Unread for each wanted index up to the last that came out of the decoder."""
        at = 0
        reformatter = VideoReformatter()
        if not self.wanted:
            return
        try:
            for picture in self._pictures():
                index = self._index(picture)
                while at < len(self.wanted) and index is not None and self.wanted[at] < index:
                    yield self._unread(self.wanted[at])
                    at += 1
                if at < len(self.wanted) and index == self.wanted[at]:
                    yield self._frame(index, picture, reformatter)
                    at += 1
                if at == len(self.wanted):
                    return
        except MediaError as error:
            self.why = str(error)

    def _index(self, picture: Any) -> int | None:
        if not self.table.timed:
            self.count += 1
            return self.count - 1
        return self._by_stamp.get(picture.pts)

    def _frame(self, index: int, picture: Any, reformatter: VideoReformatter) -> Frame | Unread:
        if picture.is_corrupt:
            return self._unread(index, "the image is damaged")
        try:
            image = pixels.rgb(picture, self.clip.how, reformatter)
        except LIBAV as error:
            return self._unread(index, damage(error))
        return Frame(index, self.table.times[index], image)

    def _unread(self, index: int, why: str = "") -> Unread:
        return Unread(index, self.table.times[index], why or self.why or "the decoder gave no image")

    def _pictures(self) -> Iterator[Any]:
        """Decoded images of the plan, in presentation order within each run."""
        table = self.table
        self._by_stamp = {table.pts[p]: i for i, p in enumerate(table.shown)} if table.timed else {}
        with self.clip.source.open() as file, opened(file, self.clip.kind, self.clip.limits, self.clock) as opening:
            container, stream = opening
            feed = _Feed(container, stream, table)
            for number, run in enumerate(self.plan):
                if number:
                    stream.codec_context.flush_buffers()
                    feed.skip_to(run.start, self.way)
                for position, packet in feed.until(run.end):
                    self._check()
                    if position < run.start:
                        continue
                    if self.drop:
                        stream.codec_context.skip_frame = "DEFAULT" if position in self.positions else "NONREF"
                    yield from self._decode(stream, packet)
                yield from self._decode(stream, None)

    def _check(self) -> None:
        if self.clock.spent > self.clock.allowed:
            raise MediaError(over("decode_seconds", self.clock.spent, self.clock.allowed))

    def _decode(self, stream: VideoStream, packet: Any) -> list[Any]:
        try:
            return list(stream.decode(packet))
        except LIBAV as error:
            self.why = damage(error)
            return []


class _Feed:
    """The packets of a stream with their positions in the table."""

    def __init__(self, container: InputContainer, stream: VideoStream, table: Table) -> None:
        self.container, self.stream, self.table = container, stream, table
        self.next = 0
        self.sought = False
        self.packets = packets(container, stream)

    def until(self, end: int) -> Iterator[tuple[int, Any]]:
        while self.next <= end:
            try:
                packet = next(self.packets, None)
            except LIBAV as error:
                raise MediaError(damage(error)) from error
            if packet is None:
                return
            if self.sought and not self._is(packet, self.next):
                raise MediaError(_LOST)
            self.next += 1
            yield self.next - 1, packet

    def skip_to(self, start: int, way: Way) -> None:
        """Seek to the packet `start` where that saves reading much; else let `until` read up to it."""
        between = sum(self.table.sizes[self.next : start])
        if way != "seek" and between < WORTH_A_SEEK:
            return
        try:
            self.container.seek(self.table.pts[start], stream=self.stream)
            self.packets = packets(self.container, self.stream)
            landed = next(self.packets, None)
        except LIBAV as error:
            raise MediaError(damage(error)) from error
        at = next((i for i in range(start, -1, -1) if landed is not None and self._is(landed, i)), None)
        if at is None:
            raise MediaError(_LOST)
        self.packets = itertools.chain([landed], self.packets)
        self.next, self.sought = at, True

    def _is(self, packet: Any, position: int) -> bool:
        """Programme streams can land inside an image: the stamp alone does not prove where we are."""
        table = self.table
        return position < len(table.pts) and (packet.pts, packet.size) == (table.pts[position], table.sizes[position])
