"""Thousands of damaged files: each is frames, unread frames or a MediaError, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from damage import damaged
from unmask.media import Limits, MediaError, open_media
from unmask.types import Frame, Unread

from . import make

COUNT = 2400
SMALL = Limits(bytes=1 << 22, pixels=4_000_000, seconds=3600, frames=5000, decode_seconds=10)
HANG = 60.0  # seconds for one file: far over the limit of decoding, whatever else the machine does


@pytest.fixture(scope="module")
def good() -> dict[str, bytes]:
    size = {"size": (64, 48), "count": 12, "gop": 5}
    image = make.picture(3, 64, 48)
    return {
        "jpeg.jpg": make.still("JPEG", image),
        "progressive.jpg": make.still("JPEG", image, progressive=True),
        "png.png": make.still("PNG", image),
        "webp.webp": make.still("WEBP", image),
        "bmp.bmp": make.still("BMP", image),
        "tiff.tif": make.still("TIFF", image, compression="tiff_lzw"),
        "gif.gif": make.still("GIF", image),
        "heic.heic": make.still("HEIF", image),
        "avif.avif": make.still("AVIF", image),
        "moving.gif": make.animation("GIF", 5),
        "moving.png": make.animation("PNG", 5),
        "moving.webp": make.animation("WEBP", 5),
        "moving.avif": make.animation("AVIF", 4),
        "h264.mp4": make.clip(options={"bf": "2"}, **size),
        "sound.mp4": make.clip(audio=True, **size),
        "fragments.mp4": make.clip(mux={"movflags": "frag_keyframe+empty_moov"}, **size),
        "h264.mkv": make.clip(container="matroska", **size),
        "h264.mov": make.clip(container="mov", rotate=90, **size),
        "vp9.webm": make.clip("libvpx-vp9", "webm", options={"cpu-used": "8"}, **size),
        "vp8.webm": make.clip("libvpx", "webm", **size),
        "hevc.mp4": make.clip("libx265", options={"x265-params": "log-level=none"}, **size),
        "mpeg4.avi": make.clip("mpeg4", "avi", **size),
        "h264.ts": make.clip(container="mpegts", **size),
        "mpeg2.mpg": make.clip("mpeg2video", "mpeg", **size),
        "flv.flv": make.clip("flv", "flv", **size),
        "wmv.wmv": make.clip("wmv2", "asf", **size),
        "vp8.ogv": make.clip("libvpx", "ogg", **size),
    }


def outcome(path: Path) -> str:
    try:
        media = open_media(path, limits=SMALL)
        frames = list(media.frames(4))
    except MediaError:
        return "refused"
    assert 1 <= len(frames) <= 4
    assert media.width * media.height <= SMALL.pixels
    for frame in frames:
        assert isinstance(frame, Frame | Unread)
        if isinstance(frame, Frame):
            assert frame.image.ndim == 3
            assert frame.image.shape[2] == 3
            assert frame.image.shape[0] * frame.image.shape[1] <= SMALL.pixels
        else:
            assert frame.why
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    return "read" if all(isinstance(frame, Frame) for frame in frames) else "partly"


def test_damaged_files_are_frames_or_an_error(good: dict[str, bytes], tmp_path: Path) -> None:
    found = {"refused": 0, "partly": 0, "read": 0}
    for name, data in damaged(20261123, good, COUNT):
        path = tmp_path / name
        path.write_bytes(data)
        start = time.monotonic()
        try:
            found[outcome(path)] += 1
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
        assert time.monotonic() - start < HANG, name
        path.unlink()
    # The generator makes all three kinds, or the test would prove little.
    assert min(found.values()) > COUNT // 100, found


def test_the_same_seed_makes_the_same_files(good: dict[str, bytes]) -> None:
    assert list(damaged(7, good, 60)) == list(damaged(7, good, 60))


def test_undamaged_files_are_read_whole(good: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in good.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert outcome(path) == "read", name
        assert not open_media(path).notes, name
