"""The directories of a TIFF, read before Pillow does: its pages, whether it is a camera RAW, what it claims.

Pillow reads every tag of a directory as far as it claims to reach, and compares each further directory with all before:
a small file can so ask for gigabytes and hours. A camera RAW is a TIFF, too; its first image is a small preview.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from unmask.media.limits import MediaError

MOST_PAGES = 1000
MOST_TAGS = 4096  # in a directory; TIFF 6.0 knows 100, makers of cameras add some hundred
MOST_CLAIMED = 64 << 20  # bytes that the tags of one directory may claim together
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _HEIGHT, _SUBFILE, _PHOTOMETRIC, _MAKE, _SUBS, _DNG = 256, 257, 254, 262, 271, 330, 50706
_EXIF, _GPS = 34665, 34853
_SENSOR = {32803, 34892}  # PhotometricInterpretation: colour filter array, linear raw
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_MAKERS = {
    "NIKON": "NEF",
    "SONY": "ARW",
    "CANON": "CR2",
    "PENTAX": "PEF",
    "SAMSUNG": "SRW",
    "HASSELBLAD": "3FR",
    "PHASE ONE": "IIQ",
    "KODAK": "DCR",
    "EPSON": "ERF",
}


@dataclass(frozen=True)
class Page:
    """One directory of the main chain."""

    width: int
    height: int
    subfile: int  # NewSubfileType
    raw: str  # "DNG", "NEF" ... when it belongs to a camera RAW
    subs: bool  # has further directories below it
    claimed: int  # bytes that its tags reach for


@dataclass(frozen=True)
class _Tag:
    kind: int
    count: int
    value: bytes  # of four or eight bytes: the value itself, or where it lies


class _Directories:
    """Reads directories of a TIFF or of an EXIF block, without believing a count."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = self._at(0, 16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = len(head) == 16 and self._number(head[2:4]) == 43
        self.first = self._number(head[8:16] if self.big else head[4:8]) if len(head) >= 8 else 0

    def read(self, offset: int) -> tuple[dict[int, _Tag], int]:
        """Tags, and the offset of the next directory; nothing where the file ends before them."""
        head, entry = (8, 20) if self.big else (2, 12)
        count = self._number(self._at(offset, head))
        if count > MOST_TAGS:
            raise MediaError(f"one of its directories claims {count:,} tags, {MOST_TAGS:,} allowed; save it anew")
        body = self._at(offset + head, count * entry + entry - head - 2)
        rows = [body[i * entry : (i + 1) * entry] for i in range(count) if len(body) >= (i + 1) * entry]
        half = 8 if self.big else 4
        tags = {
            self._number(row[:2]): _Tag(self._number(row[2:4]), self._number(row[4 : 4 + half]), row[4 + half :])
            for row in rows
        }
        return tags, self._number(body[count * entry : count * entry + half])

    def number(self, tags: dict[int, _Tag], name: int) -> int:
        """The first number of a tag that holds it in itself; 0 where there is none."""
        tag = tags.get(name)
        return self._number(tag.value[: min(_SIZES.get(tag.kind, 1), len(tag.value))]) if tag and tag.count else 0

    def text(self, tags: dict[int, _Tag], name: int) -> str:
        tag = tags.get(name)
        if tag is None:
            return ""
        data = tag.value if tag.count <= len(tag.value) else self._at(self._number(tag.value), min(tag.count, 64))
        return data.split(b"\0")[0].decode("ascii", "replace")

    def below(self, tags: dict[int, _Tag]) -> Iterator[dict[int, _Tag]]:
        """The first few directories that a tag SubIFDs points to."""
        tag = tags.get(_SUBS)
        size = _SIZES.get(tag.kind, 0) if tag else 0
        if tag is None or size not in (4, 8):
            return
        count = min(tag.count, 8)
        inside = tag.count * size <= len(tag.value)
        places = tag.value if inside else self._at(self._number(tag.value), count * size)
        for i in range(count):
            yield self.read(self._number(places[i * size : (i + 1) * size]))[0]

    @staticmethod
    def claimed(tags: dict[int, _Tag]) -> int:
        """Bytes outside the directory that its tags reach for."""
        sizes = (tag.count * _SIZES.get(tag.kind, 0) for tag in tags.values())
        return sum(size for size in sizes if size > 8)

    def _at(self, offset: int, count: int) -> bytes:
        if offset >= 1 << 62:
            return b""
        self._file.seek(offset)
        return self._file.read(max(count, 0))

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")


def pages(file: BinaryIO) -> list[Page]:
    """The directories of the main chain, at most MOST_PAGES.

    Raises: MediaError for a directory that claims more tags or bytes than any image needs.
    """
    try:
        return list(_pages(_Directories(file)))
    except (struct.error, OSError, ValueError, OverflowError):
        return []  # Pillow will say what is wrong


def _pages(directories: _Directories) -> Iterator[Page]:
    offset, seen = directories.first, set[int]()
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        tags, offset = directories.read(offset)
        if not tags:
            return
        claimed = directories.claimed(tags)
        if claimed > MOST_CLAIMED:
            raise MediaError(f"its tags claim {claimed:,} bytes, {MOST_CLAIMED:,} allowed; save it anew")
        width, height, subfile = (directories.number(tags, name) for name in (_WIDTH, _HEIGHT, _SUBFILE))
        yield Page(width, height, subfile, _raw(directories, tags), _SUBS in tags, claimed)


def _raw(directories: _Directories, tags: dict[int, _Tag]) -> str:
    if _DNG in tags:
        return "DNG"
    all_of_it = [tags, *directories.below(tags)]
    if not any(directories.number(one, _PHOTOMETRIC) in _SENSOR for one in all_of_it):
        return ""
    make = directories.text(tags, _MAKE).upper()
    return next((kind for maker, kind in _MAKERS.items() if maker in make), "camera RAW")


def chosen(file: BinaryIO) -> tuple[int, str]:
    """Which page is the image, and what a reader should know of the others.

    The first of the largest that are neither previews nor masks.

    Raises: MediaError for a camera RAW, or a file whose image lies where only its maker's programs look.
    """
    head = file.read(16)
    found = pages(file)
    raw = "CR2" if head[8:10] == b"CR" else next((page.raw for page in found if page.raw), "")
    if raw:
        kind = raw if raw == "camera RAW" else f"camera RAW ({raw})"
        raise MediaError(f"a {kind}: what it holds as an image is a preview; develop it to JPEG or TIFF first")
    whole = [i for i, page in enumerate(found) if not page.subfile & (_REDUCED | _MASK)]
    if not whole and any(page.subs for page in found):
        raise MediaError("a TIFF that holds only a preview outside its inner directories; save it as a plain TIFF")
    index = max(whole or range(len(found)), key=lambda i: found[i].width * found[i].height, default=0)
    if len(found) < 2:
        return index, ""
    count = f"more than {MOST_PAGES:,}" if len(found) == MOST_PAGES else str(len(found))
    which = "first" if index == 0 else f"largest (number {index + 1})"
    return index, f"holds {count} images; only the {which} is looked at"


def excessive(exif: bytes) -> bool:
    """Whether the tags of an EXIF block reach for more than can be in it many times over."""
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        directories = _Directories(io.BytesIO(exif))
        tags, _ = directories.read(directories.first)
        inner = [directories.read(directories.number(tags, name))[0] for name in (_EXIF, _GPS) if name in tags]
        return any(directories.claimed(one) > 16 * len(exif) + (1 << 20) for one in (tags, *inner))
    except MediaError:
        return True
    except (struct.error, OSError, ValueError, OverflowError):
        return False
