"""The frames of a manifest's row, be it a video, an image or a folder of images, and the masks that go with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmask.data.adapter import PICTURES
from unmask.media import MediaError, open_media, sampling
from unmask.types import Frame, Media, Unread

DARK = 16  # mask values up to this are black: lossy mask videos ring by a few steps
SAME_SHAPE = 0.01  # by how much the aspect of a mask may differ from its frame's


class Unreadable(Exception):  # noqa: N818 - a state of a medium, which becomes a row
    """A media file that gives no frames; the text is the reason that its row will carry, its kind before the colon."""


@dataclass(frozen=True)
class Footage:
    """An opened row.

    Attributes:
        kind: "image", "video", or "folder" of images.
        sha256: of the file's bytes; "" for a folder.
        total: frames in all, where that is known.
        frames: `frames(count)` as `Media.frames`. A folder has no clock: there t is the frame's place in it.
        at: `at(share)` is the frame on screen at this share of the length, 0..1.
        windows: as `Media.windows`; of a folder, among images whose names count up one by one.
    """

    kind: str
    sha256: str
    total: int | None
    frames: Callable[[int], Iterator[Frame | Unread]] = field(repr=False)
    at: Callable[[float], Frame | Unread] = field(repr=False)
    windows: Callable[[int, int], Iterator[Frame | Unread]] | None = field(default=None, repr=False)

    def shown(self, count: int, length: int) -> Iterator[Frame | Unread]:
        """`count` single frames, or the frames of `count` windows of more than one. Raises: Unreadable for a still."""
        if length == 1:
            return self.frames(count)
        if self.windows is None:
            raise Unreadable("window: an image has no frames in a row")
        return self.windows(count, length)


def footage(root: Path, relpath: str, sha256: str = "") -> Footage:
    """Opens what a row names.

    Args:
        sha256: what the file must contain; "" = anything.
    Raises: Unreadable.
    """
    pure = PurePosixPath(relpath)
    if not relpath or pure.is_absolute() or ".." in pure.parts or "\0" in relpath:
        raise Unreadable("no path below the root of the data set")  # manifests come from others
    path = root / pure
    if not path.exists():
        raise Unreadable("missing file")
    if path.is_dir():
        return _folder(path)
    try:
        media = open_media(path)
    except MediaError as error:
        raise Unreadable(f"unreadable: {error}".replace(str(path), relpath)) from None
    if sha256 and media.sha256 != sha256:
        raise Unreadable("changed: the file is not the one that was indexed")
    return Footage(media.kind, media.sha256, media.total_frames, media.frames, partial(_at, media), media.windows)


def _at(media: Media, share: float) -> Frame | Unread:
    if media.kind == "video" and media.frames_at and media.seconds:
        shown = media.frames_at([share * media.seconds])
    else:
        shown = media.frames(1)
    return next(shown, None) or Unread(0, 0.0, "it holds no frames")


def _folder(path: Path) -> Footage:
    names = sorted(p.name for p in path.iterdir() if p.name.lower().endswith(PICTURES) and not p.name.startswith("."))
    if not names:
        raise Unreadable("unreadable: no images in this folder")

    def frame(i: int) -> Frame | Unread:
        try:
            shown = next(open_media(path / names[i]).frames(1))
        except MediaError as error:
            shown = Unread(i, i, str(error).replace(str(path), path.name))
        return Frame(i, i, shown.image) if isinstance(shown, Frame) else Unread(i, i, shown.why)

    def frames(count: int) -> Iterator[Frame | Unread]:
        return map(frame, sampling.spread(range(len(names)), len(names), count))

    def at(share: float) -> Frame | Unread:
        return frame(min(int(share * len(names)), len(names) - 1))

    def windows(count: int, length: int) -> Iterator[Frame | Unread]:
        return map(frame, [first + i for first in _in_a_row(names, count, length) for i in range(length)])

    return Footage("folder", "", len(names), frames, at, windows)


def _in_a_row(names: Sequence[str], count: int, length: int) -> list[int]:
    """First places of at most `count` windows, evenly spread over those that the numbers in the names allow.

    A folder may hold every tenth frame of a video: only names that count up one by one are frames in a row.
    """
    numbers = [int(found[0]) if (found := re.findall(r"\d+", PurePosixPath(name).stem)[-1:]) else -1 for name in names]
    able, first = list[int](), 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1 or numbers[i] <= 0:
            able += range(first, i - length + 1, length)
            first = i
    return [able[i] for i in sampling.spread(range(len(able)), len(able), count)] if able else []


class Masks:
    """The manipulation masks of a media file, asked for frame by frame in order of time."""

    def __init__(self, masks: Footage, of: Footage, count: int, length: int = 1) -> None:
        """`count`, `length`: as of `Footage.shown`.

        Raises: Unreadable where nobody can tell which mask belongs to which frame.
        """
        self._still = masks.kind == "image"  # one mask for all frames
        if not self._still and "folder" in (masks.kind, of.kind) and masks.total != of.total:
            raise Unreadable(f"mask: {masks.total} mask images for {of.total} frames")
        # Videos of equal length show equal frames; of unequal ones all are looked through for the frames' own numbers.
        alike = masks.total == of.total
        windows = length > 1 and alike and not self._still
        self._coming = masks.shown(count, length) if windows else masks.frames(count if alike else masks.total or 1)
        self._held = next(self._coming, None)

    def at(self, frame: Frame) -> NDArray[np.bool_]:
        """(H, W) of the frame's size: True where it was manipulated. Raises: Unreadable."""
        while self._held is not None and not self._still and self._held.index < frame.index:
            self._held = next(self._coming, None)
        held = self._held
        if held is None or (held.index != frame.index and not self._still):
            raise Unreadable("mask: none for this frame")
        if isinstance(held, Unread):
            raise Unreadable(f"mask: {held.why}")
        height, width = frame.image.shape[:2]
        h, w = held.image.shape[:2]
        if abs(np.log(width * h / (height * w))) > SAME_SHAPE:
            raise Unreadable(f"mask: {w} x {h} does not fit the frame's {width} x {height}")
        marked = (held.image > DARK).any(axis=2)
        if (h, w) == (height, width):
            return np.asarray(marked, np.bool_)
        return np.asarray(Image.fromarray(marked).resize((width, height), Image.Resampling.NEAREST), np.bool_)
