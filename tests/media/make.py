"""Small media for tests, made with the encoders that PyAV and Pillow bring."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(i: int = 0, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """Smooth, coloured, with a bright square that moves with `i` and a dark corner: top left differs from the rest."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([x / width * 160 + 40, y / height * 160 + 40, (x + y + 6 * i) % 128 + 40], -1)
    image[: height // 4, : width // 4] = (220, 20, 20)
    at = (7 * i) % (width - 16)
    image[height // 2 : height // 2 + 12, at : at + 12] = 240
    return image.clip(0, 255).astype(np.uint8)


def still(form: str, image: NDArray[np.uint8] | None = None, **save: Any) -> bytes:
    if form == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.fromarray(picture() if image is None else image).save(out, form, **save)
    return out.getvalue()


def animation(form: str, count: int = 8, milliseconds: int | Sequence[int] = 100) -> bytes:
    out = io.BytesIO()
    first, *rest = (Image.fromarray(picture(i)) for i in range(count))
    durations = milliseconds if isinstance(milliseconds, int) else list(milliseconds)
    first.save(out, form, save_all=True, append_images=rest, duration=durations)
    return out.getvalue()


def clip(
    codec: str = "libx264",
    container: str = "mp4",
    count: int = 40,
    *,
    size: tuple[int, int] = (96, 64),
    stamps: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    gop: int = 10,
    rotate: float | None = None,
    aspect: Fraction | None = None,
    audio: bool = False,
    pix_fmt: str = "yuv420p",
    mux: dict[str, str] | None = None,
) -> bytes:
    """`count` images at 25 a second, or at `stamps` (in 1/1000 s)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")  # a real file: to move the index to the front, the muxer reads what it wrote
        with av.open(str(path), "w", format=container, options=mux or {}) as box:
            stream: Any = box.add_stream(codec, rate=25, options=options or {})
            stream.width, stream.height = size
            stream.pix_fmt = pix_fmt
            stream.codec_context.gop_size = gop
            if stamps is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if rotate is not None:
                stream.set_display_rotation(rotate)
            sound: Any = box.add_stream("aac", rate=48000) if audio else None
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(picture(i, *size), "rgb24")
                if stamps is not None:
                    frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
                box.mux(stream.encode(frame))
                if sound is not None:
                    tone = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.float32), "fltp", "mono")
                    tone.sample_rate, tone.pts = 48000, i * 1920
                    box.mux(sound.encode(tone))
            box.mux(stream.encode(None))
            if sound is not None:
                box.mux(sound.encode(None))
        return path.read_bytes()
