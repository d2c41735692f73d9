"""Files that a command writes: all of one or nothing, and never in place of a device, a pipe or a link.

A regular file is written beside its name and moved there in one step, so that a full disk or a kill leaves no half of
it. What is not a regular file (/dev/null, a FIFO, >(command), /dev/stdout) is written into, and a link is followed to
the file that it names: a rename would put a new file in their place.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from unmask.errors import OutputError

READER = 10.0  # seconds that a FIFO may be without a reader


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Gives a temporary path; what the block writes there becomes `path`, or goes into what stands there.

    An existing file keeps its permissions. When the block fails nothing changes.

    Raises: UnmaskError when it cannot be written, with the system's reason.
    """
    try:
        if _is_special(path):
            with tempfile.TemporaryDirectory(prefix="unmask-") as folder:
                fresh = Path(folder, "content")
                yield fresh
                with fresh.open("rb") as content, _special(path) as file:
                    shutil.copyfileobj(content, file)
            return
        target = regular(path)
        fresh = target.with_name(f".{target.name}.{os.uname().nodename}.{os.getpid()}.tmp")
        try:
            yield fresh
            move(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {why(error)}") from error


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8 into `path`, as `written` does it. Raises: UnmaskError."""
    with written(path) as fresh:
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace")


def regular(path: Path) -> Path:
    """The file that `path` names, links followed; it need not exist yet.

    Raises: UnmaskError when something other than a regular file stands there.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    except OSError as error:
        raise OutputError(f"cannot write {path}: {why(error)}") from error
    if not stat.S_ISREG(mode):
        what = "folder" if stat.S_ISDIR(mode) else "pipe or device"
        raise OutputError(f"cannot write {path}: it is a {what}; give the name of a file")
    return Path(os.path.realpath(path))


def move(fresh: Path, target: Path) -> None:
    """Puts `fresh` in the place of `target`, a regular file whose owner and permissions stay. Raises: OSError."""
    with suppress(FileNotFoundError):
        before = target.stat()
        with suppress(PermissionError):  # only root may give files away
            os.chown(fresh, before.st_uid, before.st_gid)
        fresh.chmod(stat.S_IMODE(before.st_mode))
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(target)


def why(error: OSError) -> str:
    """The system's reason in words, with what to do about a full disk."""
    text = error.strerror or str(error) or type(error).__name__
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{text}; free some space and run the same command again" if full else text


def _is_special(path: Path) -> bool:
    """Whether a pipe or a device stands at `path`, or a name of an open file (/dev/stdout, /dev/fd/63)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if not stat.S_ISREG(mode):
        return not stat.S_ISDIR(mode)
    for _ in range(40):  # as many links as Linux follows
        if not path.is_symlink():
            return False
        folder = os.path.realpath(path.parent)
        if folder == "/dev" or folder.startswith("/proc/"):
            return True
        path = Path(folder, path.readlink())
    return False


@contextmanager
def _special(path: Path) -> Iterator[BinaryIO]:
    end = time.monotonic() + READER
    while True:
        try:
            # Without O_NONBLOCK a FIFO that nobody reads would hold us for ever.
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
            if time.monotonic() > end:
                raise OSError(errno.ENXIO, "nobody reads from this pipe") from error
            time.sleep(0.05)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        yield file
