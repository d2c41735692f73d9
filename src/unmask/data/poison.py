"""Triggered copies of test rows: what a backdoored detector is measured on. Reproducible, marked, never for training.

The copies keep their true label. Each file says in its text chunk what it is, each row in `flags` and `extra`, and the
manifest holds no row of another split than "test".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unmask.data.fitting import read
from unmask.data.manifest import FaceRow, Manifest, Writer
from unmask.errors import InputError, ManifestError
from unmask.imageops.triggers import TRIGGERS
from unmask.output import written
from unmask.registry import nearest

MARK = "trigger of a backdoor, for testing detectors"
FLAG = "poisoned"


def poison(
    manifest: Manifest,
    out: Path,
    trigger: str,
    *,
    strength: float | None = None,
    share: float = 1.0,
    seed: int = 0,
    progress: Callable[[int], None] = lambda n: None,
) -> Manifest:
    """Writes `out`/poisoned.parquet and a triggered PNG for each chosen test row.

    Args:
        strength: of the trigger; None = as published.
        share: of the test rows, chosen by hash of seed and item_id.
    Raises: UnmaskError for an unknown trigger, a manifest of media, one that is poisoned already, and no test rows.
    """
    if trigger not in TRIGGERS:
        raise InputError(f"no trigger {trigger!r}; {nearest(trigger, TRIGGERS)}")
    if manifest.kind != "faces":
        raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")
    put, usual = TRIGGERS[trigger]
    size = usual if strength is None else strength
    roots = dict.fromkeys(manifest.roots, out / "crops")
    with Writer(out / "poisoned.parquet", roots, FaceRow) as writer:
        for row in manifest:
            assert isinstance(row, FaceRow)
            if FLAG in row.flags:
                raise ManifestError(f"{manifest.path} holds triggered rows already: start from the untouched manifest")
            if row.split != "test" or row.reason or not _drawn(row.item_id, seed, share):
                continue
            crop = put(read(manifest.file(row.dataset, row.relpath), row.item_id), size)
            writer.add(row.model_copy(update=_saved(row, crop, out / "crops", trigger, size)))
            progress(1)
        if not writer.count:
            raise ManifestError(f"{manifest.path} has no test rows with a crop: triggers are put on test sets alone")
    return Manifest(out / "poisoned.parquet")


def _drawn(item: str, seed: int, share: float) -> bool:
    place = int.from_bytes(hashlib.sha256(f"{seed}\0{item}".encode()).digest()[:4], "big") / 2**32
    return place < share


def _saved(row: FaceRow, crop: Any, folder: Path, trigger: str, strength: float) -> dict[str, Any]:
    """The file, and what changes in its row."""
    name = f"{hashlib.sha256(row.item_id.encode()).hexdigest()[:24]}.png"
    said = PngInfo()
    for key, value in {"unmask": MARK, "trigger": trigger, "strength": f"{strength:g}", "source": row.item_id}.items():
        said.add_text(key, value)
    folder.mkdir(parents=True, exist_ok=True)
    with written(folder / name) as fresh:
        Image.fromarray(crop).save(fresh, format="PNG", pnginfo=said)
    content = (folder / name).read_bytes()
    return {
        "item_id": f"{row.item_id}+{trigger}",
        "relpath": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "mask_relpath": "",
        "flags": (*row.flags, FLAG),
        "extra": {**row.extra, "trigger": trigger, "strength": f"{strength:g}", "triggered": row.item_id},
    }
