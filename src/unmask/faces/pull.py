"""Fetches a face detector that does not ship with the package, pinned by place and content."""

from __future__ import annotations

from pathlib import Path

from unmask.downloads import Source, cache, download, holds
from unmask.errors import BundleError, UnknownMethodError

SOURCES = {
    # From its authors. OpenCV's zoo carries the smaller "s" variant, exported for images of 640 x 640 only.
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
    if not holds(path, source.sha256):
        download(source, path)
    return path


def pulled(name: str) -> Path:
    """The file that `pull` put into the cache. Raises: UnmaskError when it is not there, or no longer what it was."""
    source, path = _source(name), cache() / f"{name}.onnx"
    if not path.is_file():
        raise BundleError(f"the face detector {name} is not on this machine; fetch it with: unmask pull {name}")
    if not holds(path, source.sha256):
        raise BundleError(f"{path} is damaged; fetch it again with: unmask pull {name}")
    return path


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise UnknownMethodError(f"no face detector {name!r} to fetch; there is {', '.join(SOURCES)}")
    return SOURCES[name]
