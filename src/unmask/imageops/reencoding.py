"""A video through a video codec and back, in memory, frame by frame as they come: nothing is held but what the codec
itself holds back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from unmask.errors import InputError
from unmask.types import Pixels

ENCODERS = {"h264": "libx264", "h265": "libx265"}
DECODERS = {"h264": "h264", "h265": "hevc"}
QUIET = {"h264": {}, "h265": {"x265-params": "log-level=error:pools=none:frame-threads=1"}}


def reencoded(
    frames: Iterable[Pixels], codec: Literal["h264", "h265"], crf: int, rate: float = 25.0
) -> Iterator[Pixels]:
    """`-c:v libx264|libx265 -preset medium -pix_fmt yuv420p -crf N`: as many frames as came, of the same size.

    Sides of an odd length are made even by repeating the last row or column, and cut again. One thread each way: the
    bits of x264 depend on how many it has.

    Args:
        frames: uint8 (H, W, 3) RGB of one size, every frame of the video.
        rate: frames a second.
    Raises: UnmaskError where this PyAV was built without the encoder, or the codec loses a frame.
    """
    came, gave, shape = 0, 0, (0, 0)
    encoder: VideoCodecContext | None = None
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    for frame in frames:
        if encoder is None:
            shape = frame.shape[:2]
            encoder = _encoder(codec, crf, rate, shape)
        picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
        picture.pts, came = came, came + 1
        for packet in encoder.encode(picture):
            for out in _decoded(decoder, packet, shape):
                gave += 1
                yield out
    if encoder is None:
        return
    for last in (*encoder.encode(None), None):
        for out in _decoded(decoder, last, shape):
            gave += 1
            yield out
    if gave != came:
        raise InputError(f"{ENCODERS[codec]} gave {gave} frames back for {came}: leave out this kind of corruption")


def version() -> str:
    """Of the libraries behind it, for result notes: the same CRF is not the same bits in all of them."""
    return f"libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))} (PyAV {av.__version__})"


def _encoder(codec: Literal["h264", "h265"], crf: int, rate: float, shape: tuple[int, int]) -> VideoCodecContext:
    try:
        encoder = av.CodecContext.create(ENCODERS[codec], "w")
    except av.codec.codec.UnknownCodecError:
        raise InputError(f"this PyAV was built without {ENCODERS[codec]}: install the wheel from PyPI") from None
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = (n + n % 2 for n in shape)
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = Fraction(rate).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.thread_count = 1
    encoder.options = {"preset": "medium", "crf": str(crf), **QUIET[codec]}
    return encoder


def _decoded(decoder: VideoCodecContext, packet: av.Packet[Any] | None, shape: tuple[int, int]) -> Iterator[Pixels]:
    for frame in decoder.decode(packet):
        yield np.ascontiguousarray(frame.to_ndarray(format="rgb24")[: shape[0], : shape[1]])


def _even(frame: Pixels) -> Pixels:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
