"""A contact sheet: the image, or key frames of a video, with the boxes of the faces that were judged, as one JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unmask.scanning.overlay import jpeg
from unmask.types import FaceReport, Frame, Pixels, State

WIDE = 960  # pixels of the sheet
MOST = 12  # key frames
COLUMNS = 3
COLOURS: dict[State, str] = {
    "fake": "#d8321d", "real": "#2f7fd0", "uncertain": "#d99a00", "failed": "#888888", "not_applicable": "#888888",
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A frame made small."""

    frame: int
    t: float
    image: Pixels  # (H, W, 3)
    scale: float  # its pixels per pixel of the frame


def small(frame: Frame, *, alone: bool) -> Key:
    """`alone`: it fills the sheet."""
    width = WIDE if alone else WIDE // COLUMNS
    height, wide = frame.image.shape[:2]
    scale = min(1.0, width / wide, width / height)
    size = max(1, round(wide * scale)), max(1, round(height * scale))
    image = Image.fromarray(frame.image).resize(size, Image.Resampling.BOX)
    return Key(frame.index, frame.t, np.asarray(image), scale)


def sheet(keys: Sequence[Key], faces: Sequence[FaceReport]) -> bytes | None:
    """At most MOST of the frames, evenly chosen, in rows; None without any. Faces are numbered as in the report."""
    if not keys:
        return None
    chosen = [keys[i] for i in sorted({round(i) for i in np.linspace(0, len(keys) - 1, min(MOST, len(keys)))})]
    drawn = [_drawn(key, faces, timed=len(keys) > 1) for key in chosen]
    columns = min(COLUMNS, len(drawn))
    width, height = max(one.width for one in drawn), max(one.height for one in drawn)
    whole = Image.new("RGB", (columns * width, -(-len(drawn) // columns) * height), "white")
    for i, one in enumerate(drawn):
        whole.paste(one, (i % columns * width, i // columns * height))
    return jpeg(np.asarray(whole))


def _drawn(key: Key, faces: Sequence[FaceReport], *, timed: bool) -> Image.Image:
    image = Image.fromarray(key.image)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for number, face in enumerate(faces, 1):
        for sample in face.samples:
            if sample.frame == key.frame:
                x0, y0, x1, y1 = (v * key.scale for v in sample.box)
                pen.rectangle((x0, y0, x1, y1), outline=COLOURS[face.state], width=2)
                above = y0 - 18 if y0 >= 18 else y1 + 1  # never over the face
                pen.rectangle((x0, above, x0 + 8 + 8 * len(str(number)), above + 17), fill=COLOURS[face.state])
                pen.text((x0 + 4, above), str(number), fill="white", font=font)
    if timed:
        pen.text((4, image.height - 18), f"{key.t:.1f} s", fill="white", font=font, stroke_width=2, stroke_fill="black")
    return image
