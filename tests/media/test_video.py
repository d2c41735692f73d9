"""Sampling in time, and the same frames however they are reached."""

from __future__ import annotations

import hashlib
import io
import itertools
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from unmask.media import Limits, sampling, sniff
from unmask.media import open_media as opens
from unmask.media.source import from_bytes
from unmask.media.video import Clip, open_video
from unmask.types import Frame, Unread

from . import make

CLIPS: dict[str, dict[str, Any]] = {
    "h264, B-frames as references": {"options": {"bf": "3", "b-pyramid": "normal"}},
    "h264, open groups": {"options": {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}},
    "h264, intra refresh": {"options": {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}},
    "h264, negative first stamp": {"options": {"bf": "3"}, "mux": {"movflags": "+negative_cts_offsets"}},
    "h264, fragments": {"mux": {"movflags": "frag_keyframe+empty_moov"}},
    "h264 with sound": {"audio": True},
    "h264 in matroska": {"container": "matroska"},
    "h264 in mov": {"container": "mov"},
    "h264 in mpegts": {"container": "mpegts"},
    "h264 in flv": {"container": "flv"},
    "h264 in avi, no stamps": {"container": "avi", "options": {"bf": "2"}},
    "h264, turned": {"rotate": 90.0},
    "h264, variable rate": {"stamps": [i * 40 if i < 20 else 800 + (i - 20) * 200 for i in range(40)]},
    "mpeg4, B-frames": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4 in avi": {"codec": "mpeg4", "container": "avi", "options": {"bf": "2"}},
    "mpeg2 in mpeg": {"codec": "mpeg2video", "container": "mpeg", "options": {"bf": "2"}},
    "mjpeg in avi": {"codec": "mjpeg", "container": "avi", "pix_fmt": "yuvj420p"},
    "vp9, hidden frames": {
        "codec": "libvpx-vp9",
        "container": "webm",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "12", "cpu-used": "8"},
    },
    "vp8, hidden frames": {
        "codec": "libvpx",
        "container": "webm",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "12"},
    },
    "hevc, open groups": {
        "codec": "libx265",
        "options": {"x265-params": "keyint=10:min-keyint=10:bframes=3:open-gop=1:scenecut=0:log-level=none"},
    },
    "hevc, temporal layers": {
        "codec": "libx265",
        "options": {"x265-params": "keyint=10:bframes=3:temporal-layers=3:log-level=none"},
    },
    "wmv2 in asf": {"codec": "wmv2", "container": "asf"},
    "prores, 10 bits": {"codec": "prores_ks", "container": "mov", "pix_fmt": "yuv422p10le"},
}


def clip_of(data: bytes, limits: Limits | None = None) -> Clip:
    kind = sniff.sniff(data[: sniff.HEAD])
    assert kind is not None
    limits = limits or Limits()
    return open_video(from_bytes(data, limits), kind, limits)


def hashes(clip: Clip, count: int, way: Any) -> list[tuple[int, float, str]]:
    found = []
    for frame in clip.frames(count, way):
        assert isinstance(frame, Frame), frame
        found.append((frame.index, frame.t, hashlib.sha256(frame.image.tobytes()).hexdigest()))
    return found


@pytest.mark.parametrize("name", CLIPS)
def test_same_frames_by_seek_and_by_one_pass(name: str) -> None:
    """The reference is PyAV's plain decode of every image, counted: it uses none of our plan."""
    data = make.clip(**CLIPS[name])
    clip = clip_of(data)
    with av.open(io.BytesIO(data)) as container:
        plain = [picture.to_ndarray(format="gray") for picture in container.decode(video=0)]
    assert len(plain) == len(clip.table.times) == 40
    for count in (1, 3, 8, 40):
        reference = hashes(clip, count, "sequential")
        assert hashes(clip, count, "seek") == reference
        assert hashes(clip, count, "auto") == reference
    for frame in clip.frames(8):
        assert isinstance(frame, Frame)
        expected = plain[frame.index] if not CLIPS[name].get("rotate") else np.rot90(plain[frame.index])
        grey = frame.image.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        assert np.abs(grey - expected).mean() < 3  # neighbouring frames differ by far more


def test_neighbouring_pictures_differ_by_more_than_the_tolerance() -> None:
    grey = [make.picture(i).astype(np.float32) @ np.float32([0.299, 0.587, 0.114]) for i in range(40)]
    assert min(np.abs(a - b).mean() for a, b in itertools.pairwise(grey)) > 3


def test_frames_are_even_in_time_not_in_number() -> None:
    """20 frames in the first 0.8 s, then 20 in 4 s. Targets for 6 of 4.8 s: 0.4, 1.2, 2.0, 2.8, 3.6, 4.4 s."""
    stamps = [i * 40 if i < 20 else 800 + (i - 20) * 200 for i in range(40)]
    media = opens(make.clip(stamps=stamps))
    assert media.seconds == pytest.approx(4.8)
    assert [round(frame.t, 3) for frame in media.frames(6)] == [0.4, 1.2, 2.0, 2.8, 3.6, 4.4]
    assert [frame.index for frame in media.frames(6)] == [10, 22, 26, 30, 34, 38]


def test_spread() -> None:
    assert sampling.spread([0.0, 1.0, 2.0, 3.0], 4.0, 2) == [1, 3]  # targets 1.0 and 3.0
    assert sampling.spread([0.0, 1.0], 2.0, 5) == [0, 1]  # each frame once
    assert sampling.spread([0.0], 0.0, 5) == [0]


def test_runs_begin_at_keyframes_and_one_earlier_for_leading_frames() -> None:
    pts = [0, 2, 1, 5, 3, 4, 6, 7]  # positions 4 and 5 follow the keyframe at 3 and are shown before it
    keys = [True, False, False, True, False, False, False, True]
    assert sampling.runs(pts, keys, [6]) == [sampling.Run(3, 6)]
    assert sampling.runs(pts, keys, [4]) == [sampling.Run(0, 4)]
    assert sampling.runs(pts, keys, [2, 7]) == [sampling.Run(0, 2), sampling.Run(7, 7)]
    assert sampling.runs(pts, keys, [2, 6]) == [sampling.Run(0, 6)]


def test_never_more_frames_than_there_are() -> None:
    media = opens(make.clip(count=5))
    assert [frame.index for frame in media.frames(32)] == [0, 1, 2, 3, 4]


def test_facts_of_a_clip() -> None:
    media = opens(make.clip(count=50))
    assert (media.kind, media.format, media.width, media.height) == ("video", "mp4", 96, 64)
    assert media.seconds == pytest.approx(2.0)
    assert media.fps == pytest.approx(25.0)
    assert media.total_frames == 50
    assert media.notes == ()


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied(degrees: int, turns: int) -> None:
    """PyAV's degrees are counter-clockwise, as np.rot90's turns are."""
    data = make.clip(rotate=float(degrees), count=3)
    media = opens(data)
    frame = next(iter(media.frames(1)))
    assert isinstance(frame, Frame)
    assert frame.image.shape[:2] == (media.height, media.width)
    expected = np.rot90(make.picture(frame.index), turns).astype(int)
    assert expected.shape == frame.image.shape
    assert np.abs(frame.image - expected).mean() < 8
    assert np.abs(frame.image - np.rot90(expected, 2)).mean() > 20


def test_pixel_shape_is_applied_only_where_it_matters() -> None:
    assert opens(make.clip(aspect=Fraction(4, 3), count=3)).width == 128
    assert opens(make.clip(aspect=Fraction(100, 99), count=3)).width == 96


@pytest.mark.parametrize("space", ["bt709", "smpte170m"])
@pytest.mark.parametrize("scale", ["tv", "pc"])
def test_colour_matrix_and_range_are_those_of_the_file(space: str, scale: str) -> None:
    """Y = 110, Cb = 100, Cr = 170 by the textbook formulas (ITU-R BT.709 and BT.601)."""
    kr, kb = (0.2126, 0.0722) if space == "bt709" else (0.299, 0.114)
    y, cb, cr = (110 - 16) / 219, (100 - 128) / 224, (170 - 128) / 224
    if scale == "pc":
        y, cb, cr = 110 / 255, (100 - 128) / 255, (170 - 128) / 255
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as box:
        stream: Any = box.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = (1 if space == "bt709" else 6), (1 if scale == "tv" else 2)
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane, value in zip(frame.planes, (110, 100, 170), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    found = next(iter(opens(out.getvalue()).frames(1)))
    assert isinstance(found, Frame)
    expected = np.array([red, green, blue]) * 255
    assert np.abs(found.image.reshape(-1, 3) - expected).max() <= 2.5


def test_a_cut_file_says_which_frames_are_not_there() -> None:
    data = make.clip(count=60, gop=5, mux={"movflags": "faststart"})
    media = opens(data[: len(data) * 6 // 10])
    assert media.total_frames == 60
    assert "cut off" in media.notes[0]
    frames = list(media.frames(12))
    assert len(frames) == 12
    assert isinstance(frames[0], Frame)
    assert isinstance(frames[-1], Unread)
    assert frames[-1].t > 2.0
    assert "ends before" in frames[-1].why
    read = [isinstance(frame, Frame) for frame in frames]
    assert read == sorted(read, reverse=True)


def test_a_hole_in_a_clip_costs_only_the_frames_in_it() -> None:
    data = bytearray(make.clip("mpeg4", "avi", count=60, gop=5, options={"qscale": "2"}))
    start = data.index(b"movi") + (len(data) - data.index(b"movi")) * 4 // 10
    for at in range(start, start + len(data) // 10):
        data[at] = 0
    frames = list(opens(bytes(data)).frames(30))
    read = [isinstance(frame, Frame) for frame in frames]
    assert read[0]
    assert sum(read) >= 15


def test_frames_can_be_asked_for_again_and_side_by_side() -> None:
    media = opens(make.clip())
    one, two = media.frames(5), media.frames(5)
    for a, b in zip(one, two, strict=True):
        assert isinstance(a, Frame)
        assert isinstance(b, Frame)
        assert np.array_equal(a.image, b.image)


def test_the_shared_clips_seek_and_pass_alike(shared_data: Any) -> None:
    path = min((shared_data / "ffpp_c23_videos").rglob("*.mp4"), key=lambda path: path.stat().st_size)
    clip = clip_of(path.read_bytes())
    assert hashes(clip, 6, "seek") == hashes(clip, 6, "sequential")
