"""Where bytes come from: a path, a buffer or a temporary file, opened anew for every reader."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from unmask.media.limits import Limits, MediaError


@dataclass(frozen=True)
class Source:
    """A file that can be opened any number of times.

    Attributes:
        name: as the user gave it.
        suffix: of the name, lower case with its dot, or "".
        size: bytes.
        sha256: of the whole content.
        open: a fresh reader at position 0; raises MediaError if the file changed since it was hashed.
    """

    name: str
    suffix: str
    size: int
    sha256: str
    open: Callable[[], BinaryIO] = field(repr=False)


def from_bytes(data: bytes, limits: Limits) -> Source:
    limits.check("bytes", len(data))
    return Source("<bytes>", "", len(data), hashlib.sha256(data).hexdigest(), lambda: io.BytesIO(data))


def from_path(path: Path, limits: Limits, name: str | None = None, keep: object = None) -> Source:
    """A regular file. `keep` lives as long as the Source does (the owner of a temporary file)."""
    with _open(path) as file:
        before = _stamp(file)
        limits.check("bytes", before[0])
        sha256 = hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()

    def reopen(keep: object = keep) -> BinaryIO:
        file = _open(path)
        if _stamp(file) != before:
            file.close()
            raise MediaError(f"{path} changed while it was being read; scan it again once it is complete")
        return file

    return Source(name or str(path), path.suffix.lower(), before[0], sha256, reopen)


def _open(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening a named pipe must not wait for a writer. It means nothing to a regular file.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MediaError(f"cannot open {path}: {why}") from error
    file = os.fdopen(descriptor, "rb") if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    if file is None:
        os.close(descriptor)
        raise MediaError(f"{path} is not a regular file (a folder, pipe or device); give an image or a video")
    return file


def _stamp(file: BinaryIO) -> tuple[int, int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
