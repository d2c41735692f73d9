"""Files that claim too much meet a limit with a name, before they cost anything."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from unmask.media import Limits, MediaError, open_media
from unmask.types import Unread

from . import make


def test_bytes() -> None:
    with pytest.raises(MediaError, match=r"101 bytes .* raise Limits\.bytes"):
        open_media(b"x" * 101, limits=Limits(bytes=100))


def test_bytes_of_a_path(tmp_path: Path) -> None:
    path = tmp_path / "big.mp4"
    with path.open("wb") as file:
        file.truncate(5 << 30)  # sparse: it takes no package
    with pytest.raises(MediaError, match=r"raise Limits\.bytes"):
        open_media(path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF"])
def test_pixels_of_a_picture(form: str) -> None:
    with pytest.raises(MediaError, match=r"6,144 pixels .* raise Limits\.pixels"):
        open_media(make.still(form), limits=Limits(pixels=6143))


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
def test_pixels_of_a_clip(container: str) -> None:
    with pytest.raises(MediaError, match=r"raise Limits\.pixels"):
        open_media(make.clip(container=container, count=3), limits=Limits(pixels=6143))


def test_seconds_and_frames() -> None:
    data = make.clip(count=50)
    with pytest.raises(MediaError, match=r"raise Limits\.seconds"):
        open_media(data, limits=Limits(seconds=1.9))
    with pytest.raises(MediaError, match=r"raise Limits\.frames"):
        open_media(data, limits=Limits(frames=49))
    assert open_media(data, limits=Limits(seconds=2.01, frames=50)).total_frames == 50


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF"])
def test_seconds_and_frames_of_an_animation(form: str) -> None:
    data = make.animation(form, 8)
    with pytest.raises(MediaError, match=r"raise Limits\.frames"):
        open_media(data, limits=Limits(frames=7))
    with pytest.raises(MediaError, match=r"raise Limits\.seconds"):
        open_media(data, limits=Limits(seconds=0.7))


def test_decoding_time() -> None:
    media = open_media(make.clip(count=50))
    assert media.total_frames == 50
    with pytest.raises(MediaError, match=r"raise Limits\.decode_seconds"):
        open_media(make.clip(count=50), limits=Limits(decode_seconds=0))


def test_decoding_time_runs_out_between_frames() -> None:
    """Opening takes milliseconds; a thousand images decoded again and again do not fit in what opening needed."""
    from unmask.media.limits import Clock
    from unmask.media.video import _Decoder

    from .test_video import clip_of

    clip = clip_of(make.clip(count=50))
    decoder = _Decoder(clip, range(50), "sequential", thorough=True, clock=Clock(-1.0))
    assert list(decoder.frames()) == []
    assert "raise Limits.decode_seconds" in decoder.why


def test_the_callers_own_time_does_not_count() -> None:
    import time

    media = open_media(make.clip(count=10), limits=Limits(decode_seconds=1.0))
    frames = []
    for frame in media.frames(3):
        frames.append(frame)
        time.sleep(0.5)
    assert not [frame for frame in frames if isinstance(frame, Unread)]


def test_a_png_that_claims_a_million_by_a_million() -> None:
    data = bytearray(make.still("PNG"))
    data[16:24] = struct.pack(">II", 1_000_000, 1_000_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(MediaError, match=r"1,000,000,000,000 pixels|PIL\.Image\.MAX_IMAGE_PIXELS"):
        open_media(bytes(data))


def test_a_jpeg_and_a_webp_that_claim_the_most_they_can() -> None:
    data = bytearray(make.still("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    with pytest.raises(MediaError, match=r"Limits\.pixels|MAX_IMAGE_PIXELS"):
        open_media(bytes(data))
    data = bytearray(make.animation("WEBP"))
    data[24:30] = b"\xfe\x3f\0\xfe\x3f\0"
    with pytest.raises(MediaError, match=r"raise Limits\.pixels"):
        open_media(bytes(data))


def test_an_mp4_that_claims_a_thousand_million_frames() -> None:
    data = bytearray(make.clip(count=20))
    at = data.index(b"stsz") + 4
    data[at + 4 : at + 12] = struct.pack(">II", 100, 1_000_000_000)  # each of 100 bytes: no table is needed to lie
    at = data.index(b"stts") + 4
    data[at + 8 : at + 16] = struct.pack(">II", 1_000_000_000, 512)
    try:
        media = open_media(bytes(data))
    except MediaError as error:
        assert str(error)  # noqa: PT017  both ends are right, depending on how libav takes it
    else:
        assert media.total_frames is not None
        assert media.total_frames <= Limits().frames


def test_an_avi_that_claims_a_thousand_million_frames() -> None:
    data = bytearray(make.clip("mpeg4", "avi", count=20))
    at = data.index(b"strh") + 8
    data[at + 32 : at + 36] = struct.pack("<I", 1_000_000_000)
    with pytest.raises(MediaError, match=r"raise Limits\.frames"):
        open_media(bytes(data))


def test_a_clip_that_grows_midway_is_refused_by_the_decoder() -> None:
    """The header says 96 x 64; a later group of images is 1280 x 960."""
    small = make.clip(container="mpegts", count=10)
    large = make.clip(container="mpegts", count=10, size=(1280, 960))
    media = open_media(small + large, limits=Limits(pixels=100_000))
    for frame in media.frames(20):
        assert isinstance(frame, Unread) or frame.image.size < 3 * 100_000


def test_only_regular_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(MediaError, match="not a regular file"):
            open_media(path)
    with pytest.raises(MediaError, match="cannot open"):
        open_media(tmp_path / "absent.mp4")
    with pytest.raises(MediaError, match="cannot open"):
        open_media("a\0b.mp4")


def test_a_file_that_changes_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(make.clip(count=10))
    media = open_media(path)
    path.write_bytes(make.clip(count=20))
    frames = list(media.frames(4))
    assert all(isinstance(frame, Unread) and "changed" in frame.why for frame in frames)
