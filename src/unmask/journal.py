"""A file of lines that survives kill -9: one run at a time appends to it, and what was torn off is cut away."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from unmask.types import UnmaskError


def appended(path: Path, busy: str) -> BinaryIO:
    """Opens `path` for reading and appending, for this process alone; a last line without an end is cut off.

    Raises: UnmaskError with the text `busy` where another process holds it, OSError when it cannot be written.
    """
    file = path.open("a+b")
    try:
        lock(file, busy)
    except UnmaskError:
        file.close()
        raise
    cut_torn_line(file)
    return file


def lock(file: BinaryIO, busy: str) -> None:
    """Holds the file for this process, until it ends in whatever way. Raises: UnmaskError with the text `busy`."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UnmaskError(busy) from error


def cut_torn_line(file: BinaryIO) -> None:
    """Takes off what a killed run had begun to write: everything after the last end of line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        last = file.read(end - start).rfind(b"\n")
        if last >= 0:
            file.truncate(start + last + 1)
            return
        end = start
    file.truncate(0)
