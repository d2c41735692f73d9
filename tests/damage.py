"""Files that are cut, flipped, spliced, mislabelled or lying, made from good ones; one seed, one set of files."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

Damage = Callable[[random.Random, bytes, bytes], bytes]

# Before these bytes' neighbours lie sizes, counts and lengths: where a lie costs a naive reader most.
_FIELDS = tuple(
    name.encode("latin-1")
    for name in (
        # PNG, WebP, GIF, BMP, TIFF, JPEG
        *("IHDR", "acTL", "fcTL", "VP8X", "VP8 ", "ANMF", "GIF89a", "BM", "II*\0", "MM\0*"),
        *("\xff\xc0", "\xff\xc2", "\xff\xda", "\xff\xe1", "Exif"),
        # MP4 and its family
        *("tkhd", "mvhd", "mdhd", "stsd", "avc1", "avcC", "hvcC", "stsz", "stts", "stsc", "stco", "ctts", "stss"),
        *("elst", "ispe", "iloc", "ipma", "mdat", "moov", "trun", "tfhd"),
        # AVI
        *("avih", "strh", "strf", "idx1", "movi", "LIST"),
        # Matroska: time scale, duration, width, height, cluster, block
        *("\x2a\xd7\xb1", "\x44\x89", "\xb0", "\xba", "\x1f\x43\xb6\x75", "\xa3"),
    )
)
_LIES = (0, 1, 0x7FFF, 0xFFFF, 1_000_000, 1_000_000_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(seed: int, good: Mapping[str, bytes], count: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files as (name, content). Names are unique; some carry a suffix that is not the content's.

    good: file names with suffixes -> contents.
    """
    rng = random.Random(seed)
    names = sorted(good)
    kinds = sorted(_DAMAGES)
    for number in range(count):
        name = names[number % len(names)]
        kind = kinds[(number // len(names)) % len(kinds)]
        data = _DAMAGES[kind](rng, good[name], good[rng.choice(names)])
        if rng.random() < 0.25:  # damage rarely comes alone
            kind2 = rng.choice(kinds)
            kind, data = f"{kind}-{kind2}", _DAMAGES[kind2](rng, data, good[rng.choice(names)])
        stem, _, suffix = name.rpartition(".")
        if rng.random() < 0.15:
            suffix = rng.choice(names).rpartition(".")[2]
        yield f"{number:05d}-{stem}-{kind}.{suffix}", data


def _truncate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _behead(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[rng.randrange(min(len(data), 4096) + 1) :]


def _flip(rng: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 32, 256)) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _flip_header(rng: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8)) if out else 0):
        out[rng.randrange(min(len(out), 256))] = rng.randrange(256)
    return bytes(out)


def _zero(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return _overwrite(rng, data, lambda size: bytes(size))


def _noise(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return _overwrite(rng, data, rng.randbytes)


def _overwrite(rng: random.Random, data: bytes, fill: Callable[[int], bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    size = min(rng.choice((16, 512, 4096)), len(data) - start)
    return data[:start] + fill(size) + data[start + size :]


def _drop(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 16, 1024)) :]


def _repeat(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[: start + rng.choice((1, 16, 4096))] + data[start:]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = rng.choice((4, 8, 16, 64, 512, rng.randrange(len(other) + 1)))
    return other[:at] + data[rng.choice((0, at)) :]


def _lie(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Large, negative or zero values in the bytes behind a field's name."""
    out = bytearray(data)
    present = [field for field in _FIELDS if field in data]
    for field in rng.sample(present, min(len(present), rng.choice((1, 1, 2, 3)))):
        places = (
            [at for at in range(len(out)) if out.startswith(field, at)][:16]
            if len(out) < 1 << 16
            else [out.find(field)]
        )
        at = (rng.choice(places) if places else 0) + len(field) + rng.randrange(32)
        value = rng.choice(_LIES).to_bytes(4, rng.choice(("big", "little")))
        value = value if rng.random() < 0.6 else value[: rng.choice((2, 3))]
        if at + len(value) <= len(out):
            out[at : at + len(value)] = value
    return bytes(out)


def _mislabel(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The other file's content under this file's name."""
    return other


_DAMAGES: dict[str, Damage] = {
    "truncated": _truncate,
    "beheaded": _behead,
    "flipped": _flip,
    "header": _flip_header,
    "zeroed": _zero,
    "noise": _noise,
    "dropped": _drop,
    "repeated": _repeat,
    "spliced": _splice,
    "lying": _lie,
    "mislabelled": _mislabel,
}
