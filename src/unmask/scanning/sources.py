"""What people hand to `unmask.scan`: names, bytes, open files, arrays, images, and lists of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from unmask.media import Limits, open_media
from unmask.media.limits import over
from unmask.media.memory import from_array, from_image
from unmask.types import Media, UnmaskError

InMemory = bytes | np.ndarray[Any, Any] | Image.Image


def sorted_out(sources: object, limits: Limits) -> list[str | InMemory]:
    """One or several sources as names of files, folders or addresses, and as what is in memory.

    Raises: UnmaskError for what is none of them.
    """
    one = _one(sources, limits)
    if one is not None:
        return [one]
    if not isinstance(sources, Iterable):
        raise UnmaskError(_refusal(sources))
    return [_required(source, limits) for source in sources]


def opened(source: InMemory, limits: Limits) -> Media:
    """What is in memory as a media file. Raises: MediaError."""
    if isinstance(source, bytes):
        return open_media(source, limits=limits)
    return from_array(source, limits) if isinstance(source, np.ndarray) else from_image(source, limits)


def called(source: InMemory) -> str:
    """What stands in a report in place of a path."""
    return "<bytes>" if isinstance(source, bytes) else "<array>" if isinstance(source, np.ndarray) else "<image>"


def _one(source: object, limits: Limits) -> str | InMemory | None:
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (np.ndarray, Image.Image)):
        return source
    if callable(getattr(source, "read", None)):
        return _read(source, limits)
    return None


def _required(source: object, limits: Limits) -> str | InMemory:
    one = _one(source, limits)
    if one is None:
        raise UnmaskError(_refusal(source))
    return one


def _read(file: Any, limits: Limits) -> bytes:
    data = file.read(limits.bytes + 1)
    if not isinstance(data, bytes):
        raise UnmaskError('an open file must give bytes; open it with mode "rb"')
    if len(data) > limits.bytes:
        raise UnmaskError(over("bytes", len(data), limits.bytes))
    return data


def _refusal(source: object) -> str:
    return (
        f"{type(source).__name__} cannot be scanned; give a path, bytes, a file opened for reading bytes, an array of "
        "RGB pixels, an image of Pillow's, or several of them"
    )
