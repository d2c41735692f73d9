"""Kinds that old sets, cameras and broken recordings bring, and files that hold more than one image or stream."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from unmask.media import MediaError, open_media
from unmask.media.hdr import TO_709, WHITE, bent, light, signal, tone_mapped
from unmask.types import Frame, Media, Pixels

from . import make


def frames(media: Media, count: int = 4) -> list[Pixels]:
    found = list(media.frames(count))
    assert all(isinstance(frame, Frame) for frame in found), found
    return [frame.image for frame in found if isinstance(frame, Frame)]


# --- several streams -------------------------------------------------------------------------------------------------


def two_streams(container: str, marked: int, cover: bool = False) -> bytes:
    """Two videos, of 64 x 48 and of 96 x 64 pixels; that of the number `marked` is the default."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as box:
        streams: list[Any] = []
        for i, (width, height) in enumerate(((64, 48), (96, 64))):
            stream: Any = box.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = av.stream.Disposition.default if i == marked else av.stream.Disposition(0)
            streams.append(stream)
        for i in range(8):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(make.picture(i, stream.width, stream.height), "rgb24")
                box.mux(stream.encode(frame))
        for stream in streams:
            box.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize(("marked", "size"), [(0, (64, 48)), (1, (96, 64))])
def test_the_default_stream_is_looked_at_and_the_other_named(
    container: str, marked: int, size: tuple[int, int]
) -> None:
    media = open_media(two_streams(container, marked))
    assert (media.width, media.height) == size
    note = f"holds 2 video streams; only number {marked + 1} ({size[0]}×{size[1]}) is looked at"
    assert media.notes == (note,)
    assert frames(media)[0].shape == (*size[::-1], 3)


def test_one_stream_is_not_worth_a_word() -> None:
    assert open_media(make.clip(count=3, audio=True)).notes == ()


# --- streams without a container, and cut ones ----------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "form"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_raw_stream(codec: str, form: str) -> None:
    options = {"x265-params": "log-level=none"} if form == "hevc" else {}
    media = open_media(make.clip(codec=codec, container=form, count=20, options=options))
    assert (media.format, media.total_frames, media.width) == (form, 20, 96)
    assert "counted instead" in media.notes[0]
    assert media.seconds == pytest.approx(0.8)
    assert np.abs(frames(media, 20)[7].astype(int) - make.picture(7)).mean() < 8


def test_a_transport_stream_that_begins_inside_a_packet() -> None:
    whole = make.clip(container="mpegts", count=40)
    media = open_media(whole[100:])
    assert media.format == "mpegts"
    assert len(frames(media)) == 4


def test_text_is_no_transport_stream() -> None:
    from unmask.media.sniff import sniff

    assert sniff(b"GATTACA" * 600) is None
    assert sniff(b"\0\0\1\x09" + bytes(40)) is not None
    assert sniff(b"\0\0\1\x99" + bytes(40)) is None


# --- images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "mode", "suffix"),
    [("PPM", "RGB", ".ppm"), ("PPM", "L", ".pgm"), ("PPM", "1", ".pbm"), ("JPEG2000", "RGB", ".jp2")],
)
def test_pictures_of_old_sets(form: str, mode: str, suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(make.picture()).convert(mode)
    path = tmp_path / f"a{suffix}"
    image.save(path, form)
    media = open_media(path)
    assert (media.width, media.height, media.notes) == (96, 64, ())
    (found,) = frames(media, 1)
    assert np.abs(found.astype(int) - np.asarray(image.convert("RGB"))).max() <= 1


def test_plain_and_commented_netpbm() -> None:
    (found,) = frames(open_media(b"P2\n# by hand\n2 1\n9\n0 9\n"), 1)
    assert found.tolist() == [[[0, 0, 0], [255, 255, 255]]]


def deep(grey: np.ndarray[Any, np.dtype[np.uint16]], form: str = "PNG") -> Media:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, form)
    return open_media(out.getvalue())


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_twelve_bits_in_sixteen(form: str) -> None:
    grey = np.asarray(Image.fromarray(make.picture()).convert("L")).astype(np.uint16)
    (full,) = frames(deep(grey * 257, form), 1)
    few = deep(grey * 16, form)
    (found,) = frames(few, 1)
    assert few.notes == ("16-bit grey of which 6.2 % is used: read as 12 bits",)
    assert deep(grey * 257, form).notes == ()
    assert np.abs(found.astype(int) - full).max() <= 1


def test_a_motion_photo_in_heic() -> None:
    clip = make.clip(count=3)
    data = make.still("HEIF") + (len(clip) + 8).to_bytes(4, "big") + b"mpvd" + clip
    assert open_media(data).notes == ("a video is attached to the image (a motion photo); only the image is looked at",)
    assert open_media(make.still("HEIF")).notes == ()


# --- PQ --------------------------------------------------------------------------------------------------------------


def test_pq_by_hand() -> None:
    """SMPTE ST 2084: 1 is 10,000 cd/m²; 0.508 is 100 and 0.581 is 203 (51 and 58 % in the table of ITU-R BT.2408)."""
    codes = np.array([0, 0.5081, 0.5807, 0.7518, 1], np.float32)
    assert np.allclose(light(codes), [0, 100, 203, 1000, 10_000], rtol=2e-3)
    assert bent(np.float32([0.5, 0.8])).tolist() == pytest.approx([0.5, 0.8])
    # Above the knee, by hand: 0.8 + 0.2 * (1 - exp(-1)) = 0.92642 for 1.0.
    assert float(bent(np.float32([1.0]))[0]) == pytest.approx(0.92642, abs=1e-4)
    assert float(bent(np.float32([50.0]))[0]) == pytest.approx(1.0)
    # BT.709: 1.099 * 0.18 ** 0.45 - 0.099 = 0.40901; 4.5 * 0.01 = 0.045.
    assert signal(np.float32([0.01, 0.18, 1.0])).tolist() == pytest.approx([0.045, 0.40901, 1.0], abs=1e-4)
    assert np.allclose(TO_709.sum(axis=1), 1, atol=2e-4)  # white stays white


def pq(image: Pixels) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The inverse of what is tested, from the standards: BT.709 signal -> light -> BT.2020 -> ST 2084, 0..1."""
    v = image / 255.0
    linear = np.where(v < 0.081, v / 4.5, ((v + 0.099) / 1.099) ** (1 / 0.45)) @ np.linalg.inv(TO_709).T
    y = np.clip(linear * WHITE / 10_000, 0, 1) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def test_what_was_mapped_up_comes_back() -> None:
    image = make.picture()  # up to 240: the knee lies at 229
    back = tone_mapped(np.round(pq(image) * 65535).astype(np.uint16))
    dim = (image <= 225).all(axis=-1)
    assert dim.mean() > 0.8
    assert np.abs(back[dim].astype(int) - image[dim]).max() <= 2
    assert (back[~dim].max(axis=-1) >= 215).all()


def test_a_pq_clip_is_shown_as_a_standard_one() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        options = {"crf": "8", "x265-params": "log-level=none:colorprim=9:transfer=16:colormatrix=9"}
        stream: Any = box.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_primaries, context.color_range = 16, 9, 9, 1
        for i in range(4):
            code = np.round(pq(make.picture(i)) * 65535).astype(np.uint16)
            frame = av.VideoFrame.from_ndarray(code, "rgb48le").reformat(
                format="yuv420p10le", dst_colorspace=9, dst_color_range=1
            )
            frame.color_trc, frame.colorspace, frame.color_primaries, frame.color_range = 16, 9, 9, 1
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    media = open_media(out.getvalue())
    assert media.notes == ("HDR video (PQ): mapped to the range of a standard display, bright parts are squeezed",)
    found = frames(media)[0].astype(int)
    assert np.abs(found - make.picture(0))[20:, 30:].mean() < 8


@pytest.mark.parametrize("data", [b"YUV4MPEG2 " + b"x" * 200, b"FLV\x01\x05\0\0\0\x09\0\0\0\0", b"OggS" + bytes(60)])
def test_damage_is_not_blamed_on_a_device(data: bytes) -> None:
    with pytest.raises(MediaError, match=r"its content is damaged|it ends before the first frame"):
        open_media(data)
