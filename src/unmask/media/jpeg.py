"""The segments of a JPEG, walked before Pillow does and after its image: what stands around the pixels.

Pillow joins EXIF segments by copying all that it has at each, and skips what is no segment byte by byte: some 100 MB of
either hold it for minutes, before it has read a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from unmask.media import tiff
from unmask.media.limits import MediaError

# Most that cameras and programs write: a depth map in XMP takes a hundred segments of 64 kB.
SEGMENTS, BYTES, EXIF, JUNK = 2000, 64 << 20, 16, 64 << 10
_ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length
TAIL = 1 << 20  # bytes behind the image that are searched for a video
MOTION = "a video is attached to the image (a motion photo); only the image is looked at"


@dataclass
class _Found:
    segments: int = 0
    exif_segments: int = 0
    junk: int = 0
    exif: bytes = b""


def check(file: BinaryIO) -> int | None:
    """Place of the first scan; None if there is none. Raises: MediaError for more before it than an image needs."""
    found = _Found()
    file.seek(0)
    while True:
        marker = _marker(file, found)
        if marker is None:
            return None
        if marker == 0xDA:
            break
        found.segments += 1
        _within(found.segments, SEGMENTS, "segments")
        _within(file.tell(), BYTES, "bytes before its image")
        if marker not in _ALONE:
            _segment(file, marker, found)
    if found.exif and tiff.excessive(found.exif):
        raise MediaError("its EXIF tags reach for more than they can hold; save it anew")
    return file.tell()


def _marker(file: BinaryIO, found: _Found) -> int | None:
    """The next marker, as Pillow looks for it; None at the end of the file."""
    byte = file.read(1)
    while byte:
        if byte != b"\xff":
            found.junk += 1
            _within(found.junk, JUNK, "bytes of nothing between its segments")
            byte = file.read(1)
            continue
        byte = file.read(1)
        if byte not in (b"", b"\0", b"\xff"):
            return byte[0]
        found.junk += 1
        _within(found.junk, JUNK, "bytes of nothing between its segments")
    return None


def _segment(file: BinaryIO, marker: int, found: _Found) -> None:
    length = int.from_bytes(file.read(2), "big")
    start = file.tell()
    if marker == 0xE1 and file.read(6) == b"Exif\0\0":
        found.exif_segments += 1
        _within(found.exif_segments, EXIF, "EXIF segments")
        found.exif += file.read(max(length - 8, 0))
    file.seek(start + max(length - 2, 0))


def _within(count: int, most: int, what: str) -> None:
    if count > most:
        raise MediaError(f"has more than {most:,} {what}, as no camera or program writes it; save the image anew")


def end(file: BinaryIO) -> int | None:
    """Where the image ends; None if it is cut off: no end marker after its first scan began.

    Thumbnails inside its tags have end markers of their own.
    """
    start = check(file)
    if start is None:
        file.seek(0, 2)
        return None
    place, tail = start, b""
    file.seek(start)
    while chunk := file.read(1 << 20):
        at = (tail + chunk).find(b"\xff\xd9")
        if at >= 0:
            return place - len(tail) + at + 2
        place, tail = place + len(chunk), chunk[-1:]
    return None


def attached(file: BinaryIO, start: int) -> str:
    """What a reader should know of what lies behind the image: phones append the seconds around a photo."""
    file.seek(start)
    tail = file.read(TAIL)
    at = tail.find(b"ftyp")
    if at < 4 or not tail[at + 4 : at + 8].isascii():
        return ""
    return MOTION
