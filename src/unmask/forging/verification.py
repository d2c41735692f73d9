"""Whether a folder of forgeries is still what was made: every image, mask, sidecar and row of the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unmask.data.manifest import Manifest, Row
from unmask.errors import ManifestError
from unmask.forging.saving import bytes_of
from unmask.forging.sidecars import Key, beside, fault, read

TABLE, FOLDERS = "faces.parquet", ("images", "masks")


@dataclass
class Verification:
    """What was found in one folder.

    Attributes:
        verified: forgeries whose files, sidecar and row agree.
        signed: those of them that carry a signature; it is checked only where a key is given.
        without_file: rows that say why nothing was forged.
        faults: what is wrong -> the files or items of which it is so.
    """

    verified: int = 0
    signed: int = 0
    without_file: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        return not self.faults


def verify(folder: Path, key: Key | None = None, progress: Callable[[int], None] = lambda rows: None) -> Verification:
    """Reads every file of a folder of `unmask data forge` and compares it with its sidecar and its row.

    Args:
        key: where given, every sidecar must carry its signature.
        progress: called with 1 for each row.
    Raises: UnmaskError for a folder without a manifest of forgeries.
    """
    if not (folder / TABLE).is_file():
        raise ManifestError(
            f"{folder} has no {TABLE}: give a folder of `unmask data forge`, and run that command again if it was ended"
        )
    manifest, found, listed = Manifest(folder / TABLE), Verification(), set[str]()
    for row in manifest:
        progress(1)
        if row.reason:  # type: ignore[attr-defined]  # rows of faces have one
            found.without_file += 1
            continue
        listed |= {row.relpath, row.mask_relpath, beside(row.relpath)}
        sidecar = bytes_of(manifest.file(row.dataset, beside(row.relpath)))
        image, mask = (bytes_of(manifest.file(row.dataset, path)) for path in (row.relpath, row.mask_relpath))
        wrong = fault(image, mask, sidecar, row.item_id, key) or _contradiction(row, sidecar or b"")
        if wrong:
            found.faults.setdefault(wrong, []).append(row.relpath)
            continue
        found.verified += 1
        said = read(sidecar or b"")
        found.signed += bool(said and said.signature)
    there = (path for name in FOLDERS for path in sorted((folder / name).rglob("*")) if path.is_file())
    strangers = [p for path in there if (p := path.relative_to(folder).as_posix()) not in listed]
    if strangers:
        found.faults["named by no row"] = strangers
    return found


def _contradiction(row: Row, sidecar: bytes) -> str:
    """What a row says otherwise than its sidecar; empty if nothing."""
    said, extra = read(sidecar), row.extra
    assert said is not None
    if hashlib.sha256(sidecar).hexdigest() != extra.get("sidecar"):
        return "sidecar changed"
    row_says = (row.label, row.method, row.sha256, extra.get("source"), extra.get("seed"), extra.get("pixels"))
    if row_says != (said.label, said.generator, said.file, said.source, str(said.seed), said.pixels):
        return "row contradicts sidecar"
    return "" if extra.get("basis") == said.basis else "row contradicts sidecar"
