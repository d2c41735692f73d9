"""From bytes to faces: frames of a media file, detected faces and their crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from unmask.types.plain import Floats, Pixels


@dataclass(frozen=True)
class Frame:
    """One image of a media file, upright and in sRGB."""

    index: int  # position in presentation order, 0-based; 0 for a still
    t: float  # seconds from the first frame; 0 for a still
    image: Pixels  # (H, W, 3)


@dataclass(frozen=True)
class Unread:
    """A frame that was asked for and could not be read: a state of its own, never a silent gap."""

    index: int
    t: float
    why: str


@dataclass(frozen=True)
class Media:
    """An opened image or video. Nothing is decoded before `frames` is called.

    Attributes:
        source: the path or URL as given, or "<bytes>".
        sha256: of the file's bytes, lower-case hex.
        format: of the content, not the suffix: "jpeg", "png", "heic", "mp4", "matroska", ...
        width, height: pixels after orientation or rotation is applied.
        seconds, fps, total_frames: None for stills and where the file does not say.
        notes: what a reader of the verdict should know ("suffix says .jpg, content is PNG").
        provenance: EXIF camera fields and C2PA state, as plain strings.
        frames: `frames(count)` yields at most `count` frames evenly spaced in time, in order, each a Frame or Unread.
        frames_at: the same of the frames that are on screen at these seconds, without repeats; None where a media file
            cannot be looked at twice.
        windows: `windows(count, length)` yields the frames of at most `count` windows of `length` frames in a row,
            evenly spread over the video and without overlap, window after window; None where there are no frames in
            a row, as in a still.
    """

    source: str
    sha256: str
    kind: Literal["image", "video"]
    format: str
    width: int
    height: int
    seconds: float | None
    fps: float | None
    total_frames: int | None
    notes: tuple[str, ...]
    provenance: dict[str, str]
    frames: Callable[[int], Iterator[Frame | Unread]] = field(repr=False)
    frames_at: Callable[[Sequence[float]], Iterator[Frame | Unread]] | None = field(default=None, repr=False)
    windows: Callable[[int, int], Iterator[Frame | Unread]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Face:
    """One face in one frame, in pixels of that frame."""

    frame: int  # Frame.index
    t: float  # Frame.t
    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    points: Floats  # (5, 2): left eye, right eye, nose tip, left and right mouth corner, as seen in the image
    score: float  # the face detector's own confidence, 0..1; not P(fake)
    turned: int = 0  # degrees by which the image had to be turned, counter-clockwise, for the face to be found

    @property
    def side(self) -> float:
        """Geometric mean of width and height, in pixels."""
        x0, y0, x1, y1 = self.box
        return float(np.sqrt(max(x1 - x0, 0.0) * max(y1 - y0, 0.0)))


@dataclass(frozen=True)
class Crop:
    """A face as a detector wants it."""

    face: Face
    matrix: Floats  # (2, 3): pixels of the frame -> pixels of the crop
    image: Pixels  # (size, size, 3), or of a video detector's window (T, size, size, 3)
