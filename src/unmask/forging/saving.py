"""A forgery on disk: image, mask and sidecar, read back and compared before anyone may use them."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unmask._version import __version__
from unmask.base.generator import Forgery
from unmask.errors import OutputError
from unmask.forging.contact_sheet import MARK
from unmask.forging.sidecars import SOURCE_TYPE, Key, Sidecar, beside, fault, pixels_sha256
from unmask.types import Floats, Pixels

WORK = ".work"


def saved(out: Path, item: str, made: Forgery, facts: dict[str, Any], key: Key | None) -> dict[str, Any]:
    """Writes a forgery's three files below `out`, and verifies them as they lie on the disk.

    Args:
        facts: what the sidecar says besides hashes and details.
    Returns: what the forgery's row says of its files.
    Raises: OutputError if what is read back is not what was made; the files are deleted then.
    """
    name = hashlib.sha256(item.encode()).hexdigest()[:24]
    picture, mask = (f"{folder}/{name[:2]}/{name}.png" for folder in ("images", "masks"))
    data, covered = png(made.image, item), grey(made.mask)
    said = Sidecar(
        item=item, pixels=pixels_sha256(made.image), file=hashlib.sha256(data).hexdigest(),
        mask=pixels_sha256(covered), version=__version__, details=made.details, **facts,
    )  # fmt: skip
    sidecar = (key.signed(said) if key else said).dumped()
    put(out, picture, data)
    put(out, mask, png(covered, f"the mask of {item}"))
    put(out, beside(picture), sidecar)
    _verified(out, (picture, mask, beside(picture)), item, key)
    return {
        "relpath": picture, "mask_relpath": mask, "sha256": said.file, "bytes": len(data),
        "extra": {"pixels": said.pixels, "sidecar": hashlib.sha256(sidecar).hexdigest(), "basis": said.basis},
    }  # fmt: skip


def _verified(out: Path, paths: tuple[str, str, str], item: str, key: Key | None) -> None:
    image, mask, sidecar = (bytes_of(out / path) for path in paths)
    wrong = fault(image, mask, sidecar, item, key)
    if wrong:
        for path in paths:
            (out / path).unlink(missing_ok=True)
        raise OutputError(f"{out / paths[0]} was deleted after saving: {wrong}; see to the disk and forge again")


def bytes_of(path: Path) -> bytes | None:
    """The file's content; None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def grey(mask: Floats) -> Pixels:
    """0..1 as 0..255, rounded up, so that no touched pixel is called untouched."""
    return np.ceil(mask * 255).clip(0, 255).astype(np.uint8)


def png(image: Pixels, what: str) -> bytes:
    """A PNG whose metadata say what it is, to whoever finds it without its folder."""
    said = PngInfo()
    said.add_text("Description", f"{MARK}: {what}")
    said.add_text("Software", f"unmask {__version__}")
    said.add_text("DigitalSourceType", SOURCE_TYPE)
    said.add_text("synthetic", "true")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", pnginfo=said, compress_level=2)
    return buffer.getvalue()


def put(out: Path, relpath: str, data: bytes) -> None:
    """All of the file, or nothing."""
    partial = out / WORK / f"{os.getpid()}.partial"
    partial.write_bytes(data)
    (out / relpath).parent.mkdir(parents=True, exist_ok=True)
    partial.replace(out / relpath)
