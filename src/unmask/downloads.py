"""Pinned files from the network: an address, a size and a sha256, and nothing is kept that does not fit them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from unmask.errors import OutputError, UnmaskError


@dataclass(frozen=True)
class Source:
    url: str
    sha256: str
    size: int  # bytes
    licence: str


def download(source: Source, path: Path) -> None:
    """Writes the file at `source` to `path`, all of it or nothing. Raises: UnmaskError."""
    by_hand = f"to go without the network, put the file with sha256 {source.sha256} at {path}"
    try:
        with urllib.request.urlopen(source.url, timeout=30) as response:  # noqa: S310 - the URL is pinned by the caller
            content = response.read(source.size + 1)
    except (OSError, ValueError) as error:  # URLError, HTTPError and timeouts are OSErrors
        raise UnmaskError(f"cannot fetch {source.url}: {error}; {by_hand}") from error
    if sha256(content) != source.sha256:
        raise UnmaskError(f"{source.url} did not send the expected file and was not kept; {by_hand}")
    write(path, content)


def write(path: Path, content: bytes) -> None:
    """All of the content or nothing, in a folder that is made. Raises: UnmaskError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def holds(path: Path, expected: str) -> bool:
    """Whether `path` is the file with this sha256."""
    return path.is_file() and sha256(path.read_bytes()) == expected


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cache() -> Path:
    """$XDG_CACHE_HOME/unmask, by default ~/.cache/unmask."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unmask"
