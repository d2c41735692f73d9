"""What stands around an image: camera RAW behind a preview, pages, segments and tags that cost more than pixels."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.media import MediaError, open_media
from unmask.media.tiff import excessive
from unmask.types import Frame, Pixels

from . import make

Tags = list[tuple[int, int, list[int] | bytes]]  # tag, type (2 text, 3 short, 4 long), values


def directory(tags: Tags, offset: int, order: str = "<", onward: int = 0) -> bytes:
    """A directory at `offset`, with what does not fit into its entries behind it."""
    start, body, extra = offset + 2 + 12 * len(tags) + 4, struct.pack(order + "H", len(tags)), b""
    for tag, kind, values in sorted(tags):
        data = (
            values if isinstance(values, bytes) else struct.pack(order + len(values) * {3: "H", 4: "I"}[kind], *values)
        )
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", start + len(extra))
        extra += data if len(data) > 4 else b""
        body += struct.pack(order + "HHI", tag, kind, len(values)) + place
    return body + struct.pack(order + "I", onward) + extra


def picture(size: int, offset: int, *more: tuple[int, int, list[int] | bytes], photometric: int = 2) -> Tags:
    """The tags of an uncompressed RGB image of `size` pixels a side that lies at `offset`."""
    numbers = {256: size, 257: size, 273: offset, 278: size, 279: 3 * size * size}
    shorts = {259: [1], 262: [photometric], 277: [3], 258: [8, 8, 8]}
    own = [(tag, 4, [value]) for tag, value in numbers.items()]
    return [*own, *((tag, 3, values) for tag, values in shorts.items()), *more]


def raw(make: bytes, order: str = "<", *, dng: bool = False, sub: int = 32803, head: bytes = b"") -> bytes:
    """A camera's file: a preview of 32 pixels, and below it a sensor's image of 64."""
    preview, sensor = bytes(3 * 32 * 32), bytes(3 * 64 * 64)
    at = 16 + len(preview) + len(sensor)
    inner = directory(picture(64, 16 + len(preview), (254, 4, [0]), photometric=sub), at, order)
    more: Tags = [(254, 4, [1]), (271, 2, make), (330, 4, [at])]
    more += [(50706, 4, [0x01040000])] if dng else []
    main = directory(picture(32, 16, *more), at + len(inner), order)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at + len(inner))
    return (start + head).ljust(16, b"\0") + preview + sensor + inner + main


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (raw(b"Apple\0", dng=True), "DNG"),
        (raw(b"Apple\0", ">", dng=True, sub=34892), "DNG"),
        (raw(b"NIKON CORPORATION\0", ">"), "NEF"),
        (raw(b"SONY\0"), "ARW"),
        (raw(b"Canon\0", head=b"CR\2\0"), "CR2"),
        (raw(b"Nobody\0"), "camera RAW"),
        (b"IIRO\x08\0\0\0" + bytes(60), "ORF"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(60), "RAF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(60), "CR3"),
    ],
)
def test_a_camera_raw_is_refused_by_its_kind(data: bytes, kind: str) -> None:
    with pytest.raises(MediaError, match=rf"camera RAW.*{'' if kind == 'camera RAW' else kind}.*develop it to JPEG"):
        open_media(data)


def test_a_preview_over_what_only_its_maker_reads_is_refused() -> None:
    with pytest.raises(MediaError, match="save it as a plain TIFF"):
        open_media(raw(b"Nobody\0", sub=2))


def pages(sizes: list[int], subfiles: list[int] | None = None) -> bytes:
    out = io.BytesIO()
    subfiles = subfiles or [0] * len(sizes)
    first, *rest = (Image.fromarray(make.picture(i, size, size)) for i, size in enumerate(sizes))
    for image, subfile in zip((first, *rest), subfiles, strict=True):
        image.encoderinfo = {"tiffinfo": {254: subfile}}
    first.save(out, "TIFF", save_all=True, append_images=rest, tiffinfo={254: subfiles[0]})
    return out.getvalue()


def only(data: bytes) -> tuple[Pixels, tuple[str, ...]]:
    media = open_media(data)
    (frame,) = media.frames(1)
    assert isinstance(frame, Frame), frame
    assert frame.image.shape[:2] == (media.height, media.width)
    return frame.image, media.notes


def test_of_several_pages_the_largest_is_looked_at() -> None:
    image, notes = only(pages([24, 64, 48]))
    assert np.array_equal(image, make.picture(1, 64, 64))
    assert notes == ("holds 3 images; only the largest (number 2) is looked at",)
    image, notes = only(pages([64, 64]))
    assert np.array_equal(image, make.picture(0, 64, 64))
    assert notes == ("holds 2 images; only the first is looked at",)


def test_a_page_that_says_it_is_a_preview_or_a_mask_is_not_the_picture() -> None:
    for subfile in (1, 4):
        image, _ = only(pages([96, 64], [subfile, 0]))
        assert np.array_equal(image, make.picture(1, 64, 64))
    image, notes = only(pages([64], [1]))  # wrong, and harmless
    assert image.shape == (64, 64, 3)
    assert notes == ()


def quickly(data: bytes, says: str) -> None:
    start = time.monotonic()
    with pytest.raises(MediaError, match=says):
        open_media(data)
    assert time.monotonic() - start < 5


def test_a_chain_of_directories_is_not_followed_for_ever() -> None:
    """Pillow compares each directory's place with all before: 200,000 of them take it an hour."""
    good = directory(picture(8, 16), 8 + 3 * 64 + 8)
    start = 8 + 3 * 64 + 8
    chain = b"".join(struct.pack("<HHHIII", 1, 256, 4, 1, 8, start + len(good) + 18 * (i + 1)) for i in range(200_000))
    first = good[: -4 - 6] + struct.pack("<I", start + len(good)) + good[-6:]
    data = (b"II*\0" + struct.pack("<I", start)).ljust(16, b"\0") + bytes(3 * 64) + first + chain
    begin = time.monotonic()
    media = open_media(data)
    assert media.notes == ("holds more than 1,000 images; only the first is looked at",)
    assert time.monotonic() - begin < 5


def test_tags_that_reach_for_gigabytes() -> None:
    data = make.still("TIFF")
    tags: Tags = [(1000 + i, 2, b"x" * 5) for i in range(400)]
    (place,) = struct.unpack("<I", data[4:8])
    block = bytearray(directory([*picture(64, 8), *tags], len(data)))
    for i in range(len(tags) + 9):
        if struct.unpack_from("<H", block, 2 + 12 * i)[0] >= 1000:
            struct.pack_into("<II", block, 2 + 12 * i + 4, 1 << 20, 0)  # a megabyte each, from the beginning
    assert place
    quickly(b"II*\0" + struct.pack("<I", len(data)) + data[8:] + bytes(block), "tags claim")


def exif(count: int, each: int) -> bytes:
    """An EXIF block whose `count` tags claim `each` bytes."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + i, 7, each, 8) for i in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def test_exif_that_reaches_for_more_than_there_is() -> None:
    assert not excessive(Image.Exif().tobytes())
    assert not excessive(exif(20, 200))
    assert excessive(exif(2000, 1 << 20))
    assert excessive(exif(5000, 1))
    bomb = b"Exif\0\0" + exif(2000, 60_000)
    quickly(make.still("JPEG", exif=bomb), "EXIF tags reach for more")
    for form in ("PNG", "WEBP"):  # here Pillow does not read them by itself
        media = open_media(make.still(form, exif=bomb))
        assert media.provenance["exif"].startswith("damaged: its tags reach")
        assert media.width == 96


@pytest.mark.parametrize(
    ("stuffing", "says"),
    [
        ((b"\xff\xe1\xff\xff" + b"Exif\0\0" + b"A" * 65527) * 1500, "more than 16 EXIF segments"),
        (b"\xff\xfe\0\2" * 5000, "more than 2,000 segments"),
        (b"\xff\xe2\xff\xff" + b"A" * 65533, ""),
        ((b"\xff\xe2\xff\xff" + b"A" * 65533) * 1100, "more than 67,108,864 bytes"),
        (b"\xff\xfe\0\2" + b"A" * 1_000_000, "more than 65,536 bytes of nothing"),
        (b"\xff" * 1_000_000, "more than 65,536 bytes of nothing"),
        (b"\xff\0" * 1_000_000, "more than 65,536 bytes of nothing"),
    ],
)
def test_what_may_stand_before_the_pixels(stuffing: bytes, says: str, tmp_path: Path) -> None:
    good = make.still("JPEG")
    data = good[:2] + stuffing + good[2:]
    if says:
        quickly(data, says)
    else:
        assert only(data)[1] == ()


def test_a_motion_photo_says_what_was_not_looked_at() -> None:
    good = make.still("JPEG")
    clip = make.clip(count=3)
    image, notes = only(good + clip)
    assert np.array_equal(image, only(good)[0])
    assert notes == ("a video is attached to the image (a motion photo); only the image is looked at",)
    assert only(good + b"some bytes of a camera's maker")[1] == ()
