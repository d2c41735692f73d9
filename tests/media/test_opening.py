"""One door: content decides, refusals name what came, nothing inside a file opens another."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from unmask.media import MediaError, camera, open_media
from unmask.media.limits import Limits
from unmask.media.sniff import VIDEOS, Kind
from unmask.media.source import from_bytes
from unmask.media.video import open_video

from . import make


def test_content_decides_and_the_name_is_only_noted(tmp_path: Path) -> None:
    path = tmp_path / "portrait.jpg"
    path.write_bytes(make.still("PNG"))
    media = open_media(path)
    assert media.format == "png"
    assert media.notes == ("the name ends in .jpg, the content is PNG",)
    assert media.source == str(path)
    assert media.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    clip = tmp_path / "photo.jpeg"
    clip.write_bytes(make.clip(count=3))
    assert open_media(str(clip)).kind == "video"


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as box:
        box.writestr("a.txt", "a")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"hello there, this is only text\n" * 9, "text"),
        (b"%PDF-1.7\n", "a PDF document"),
        (_zip(), "a ZIP archive"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "a program"),
        (b"ID3\x04" + bytes(60), "an MP3 sound file"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "a WAV sound file"),
        (b"BM is how this sentence begins, and it is not a bitmap", "text"),
        (bytes(range(250, 256)) * 20, "data of an unknown kind"),
    ],
)
def test_refusals_say_what_it_looks_like(data: bytes, words: str) -> None:
    with pytest.raises(MediaError, match=f"looks like {words}"):
        open_media(data)


def test_sound_without_a_picture_is_refused() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        stream = box.add_stream("aac", rate=48000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        tone.sample_rate = 48000
        box.mux(stream.encode(tone))
        box.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video in it"):
        open_media(out.getvalue())


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.mp4"
    path.write_bytes(make.clip(count=5))
    return path


def playlists(secret: Path) -> dict[str, bytes]:
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{secret}\n#EXT-X-ENDLIST\n".encode(),
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "dash": (
            b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><AdaptationSet "
            b"mimeType='video/mp4'><Representation id='0' bandwidth='1'><BaseURL>file:"
            + str(secret).encode()
            + b"</BaseURL></Representation></AdaptationSet></Period></MPD>"
        ),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }


@pytest.mark.parametrize("kind", ["hls", "concat", "dash", "sdp"])
def test_playlists_are_refused(secret: Path, kind: str, tmp_path: Path) -> None:
    data = playlists(secret)[kind]
    with pytest.raises(MediaError, match="not an image or a video"):
        open_media(data)
    path = tmp_path / "list.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaError, match="not an image or a video"):
        open_media(path)


@pytest.mark.parametrize("kind", ["hls", "concat", "dash"])
def test_libav_itself_opens_nothing_from_inside_a_file(secret: Path, kind: str) -> None:
    """Even if the sniffing were fooled into naming a playlist's reader, no protocol is open to it."""
    data = playlists(secret)[kind]
    for name in (kind, "mov", "matroska"):
        with pytest.raises(MediaError):
            open_video(from_bytes(data, Limits()), Kind("x", "video", name, ()), Limits())


def test_a_reference_inside_a_mov_is_not_followed(secret: Path) -> None:
    """A QuickTime data reference ("alis") that points to another file: the samples would come from there."""
    data = bytearray(make.clip(container="mov", count=5))
    at = data.index(b"dref")
    entry = data.index(b"url ", at)
    data[entry : entry + 4] = b"alis"
    data[entry + 4 : entry + 8] = struct.pack(">I", 0)
    frames = open_media(bytes(data)).total_frames
    assert frames == 5  # its own samples, not those of a file it names


def test_every_video_kind_is_a_demuxer_that_exists() -> None:
    for kind in VIDEOS.values():
        assert av.ContainerFormat(kind.name, "r").is_input


def test_an_absent_camera_is_a_clear_error() -> None:
    with pytest.raises(MediaError, match="no camera at /dev/video63"):
        camera(63, 0.5)
    with pytest.raises(MediaError, match="0 or more"):
        camera(-1, 0.5)


def test_addresses_are_opened_only_if_asked_for() -> None:
    with pytest.raises(MediaError, match="allow_url"):
        open_media("https://example.org/clip.mp4")
