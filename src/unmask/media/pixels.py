"""From a decoded video frame to upright sRGB-like pixels: colour matrix, range, pixel shape, rotation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from unmask.media.hdr import tone_mapped
from unmask.types import Pixels

# ITU-T H.273 matrix coefficients -> swscale's names. 2 = unspecified.
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
HDR = {16: "PQ", 18: "HLG"}  # H.273 transfer characteristics


@dataclass(frozen=True)
class Upright:
    """How stored pixels become the image people see.

    `turn`: 2 x 2 signs of the display matrix (what x and y of a stored pixel add to x and y on screen).
    `aspect`: width of a pixel over its height.
    """

    turn: tuple[int, int, int, int] = (1, 0, 0, 1)
    aspect: Fraction = Fraction(1)

    def size(self, width: int, height: int) -> tuple[int, int]:
        width = round(width * self.aspect)
        return (width, height) if self.turn[0] else (height, width)


def upright(frame: VideoFrame, aspect: Fraction | None) -> Upright:
    """Read rotation and mirroring off a frame's display matrix; `aspect` as the stream states it."""
    turn = (1, 0, 0, 1)
    side = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    if side is not None and side.buffer_size == 36:
        m = np.frombuffer(bytes(side), np.int32).reshape(3, 3)
        a, b, c, d = (int(np.sign(v)) if abs(int(v)) > 1 << 14 else 0 for v in (m[0, 0], m[0, 1], m[1, 0], m[1, 1]))
        if (a and d and not b and not c) or (b and c and not a and not d):
            turn = (a, b, c, d)
    # Below 2 % nobody sees the difference, and resampling would blur the traces that detectors look at. Absurd values
    # are damage.
    useful = aspect is not None and Fraction(1, 4) <= aspect <= 4 and abs(aspect - 1) > Fraction(1, 50)
    return Upright(turn, aspect if aspect is not None and useful else Fraction(1))


def rgb(frame: VideoFrame, how: Upright, reformatter: VideoReformatter) -> Pixels:
    """(H, W, 3) uint8. Matrix as flagged; where it is not, BT.709 for HD and BT.601 below, as players do."""
    unflagged = Colorspace.ITU709 if frame.height >= 720 or frame.width >= 1280 else Colorspace.ITU601
    full = frame.format.name.startswith("yuvj") or frame.color_range == 2
    clear = frame.format.name in _WITH_ALPHA
    mapped = HDR.get(frame.color_trc) == "PQ" and not clear
    out = reformatter.reformat(
        frame,
        width=max(round(frame.width * how.aspect), 1),
        format="rgba" if clear else "rgb48le" if mapped else "rgb24",
        src_colorspace=_MATRIX.get(frame.colorspace, unflagged) if not frame.format.is_rgb else None,
        dst_colorspace=Colorspace.DEFAULT,
        src_color_range=ColorRange.JPEG if full or frame.format.is_rgb else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BICUBIC if how.aspect != 1 else Interpolation.BILINEAR,
        threads=1,
    )
    image: Any = out.to_ndarray()
    if mapped:
        image = tone_mapped(image)
    if clear:
        alpha = image[..., 3:].astype(np.uint16)
        image = ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return _turn(image, how.turn)


_WITH_ALPHA = {"rgba", "bgra", "argb", "abgr", "yuva420p", "yuva422p", "yuva444p", "ya8", "gbrap", "pal8"}


def _turn(image: Pixels, turn: tuple[int, int, int, int]) -> Pixels:
    a, b, c, d = turn
    if a == 0:  # x on screen comes from y in store: transpose first
        image = image.transpose(1, 0, 2)
        x, y = c, b
    else:
        x, y = a, d
    image = image[:, ::-1] if x < 0 else image
    image = image[::-1] if y < 0 else image
    return np.ascontiguousarray(image)
