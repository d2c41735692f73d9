"""Fetches a face detector that does not ship with the package, pinned by place and content."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from unmask.types import UnmaskError


@dataclass(frozen=True)
class Source:
    url: str
    sha256: str
    size: int  # bytes
    licence: str


SOURCES = {
    # From its authors. OpenCV's zoo carries the smaller "s" variant, exported for pictures of 640 x 640 only.
    "yunet": Source(
        "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train"
        "/0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_dynamic.onnx",
        "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
        322_906,
        "Apache-2.0",
    ),
}


def pull(name: str, destination: Path | None = None) -> Path:
    """Downloads the face detector `name` into the folder `destination` (the cache unless given), once.

    Returns: the verified file.
    Raises: UnmaskError for an unknown name, no network, or a file that is not the pinned one.
    """
    source = _source(name)
    path = (destination or cache()) / f"{name}.onnx"
    if not (path.is_file() and _sha256(path.read_bytes()) == source.sha256):
        download(source, path)
    return path


def pulled(name: str) -> Path:
    """The file that `pull` put into the cache. Raises: UnmaskError when it is not there, or no longer what it was."""
    source, path = _source(name), cache() / f"{name}.onnx"
    if not path.is_file():
        raise UnmaskError(f"the face detector {name} is not on this machine; fetch it with: unmask pull {name}")
    if _sha256(path.read_bytes()) != source.sha256:
        raise UnmaskError(f"{path} is damaged; fetch it again with: unmask pull {name}")
    return path


def download(source: Source, path: Path) -> None:
    """Writes the file at `source` to `path`, all of it or nothing. Raises: UnmaskError."""
    by_hand = f"to go without the network, put the file with sha256 {source.sha256} at {path}"
    try:
        with urllib.request.urlopen(source.url, timeout=30) as response:  # noqa: S310 - the URL is pinned above
            content = response.read(source.size + 1)
    except (OSError, ValueError) as error:  # URLError, HTTPError and timeouts are OSErrors
        raise UnmaskError(f"cannot fetch {source.url}: {error}; {by_hand}") from error
    if _sha256(content) != source.sha256:
        raise UnmaskError(f"{source.url} did not send the expected file and was not kept; {by_hand}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
    except OSError as error:
        raise UnmaskError(f"cannot write {path}: {error.strerror}") from error


def cache() -> Path:
    """$XDG_CACHE_HOME/unmask, by default ~/.cache/unmask."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unmask"


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise UnmaskError(f"no face detector {name!r} to fetch; there is {', '.join(SOURCES)}")
    return SOURCES[name]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
