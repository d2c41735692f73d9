"""Crops as tar files for training from object storage (WebDataset: members that share a name up to the dot are one).

    shards/000000.tar   <key>.png (or .webp), <key>.mask.png where there is a mask, <key>.json: the FaceRow
    shards/index.json   {"format": "unmask.shards/1", "source": ..., "shards": [{"name", "count", "sha256"}, ...]}

Crops stand in the order of a hash of their id: each shard is a fair sample of all, so that a reader needs to shuffle
within a shard only. The same table gives the same bytes. Rows without a crop are in faces.parquet, not here.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa

from unmask.data.checks import content_hash
from unmask.data.manifest import GROUP, FaceRow, Manifest
from unmask.errors import ManifestError

FORMAT, INDEX, BEGUN, SORTING = "unmask.shards/1", "index.json", ".index.begun.json", ".sorting"
CROPS = 1000  # of one shard: some 80 MB at 256 pixels


def pack(
    manifest: Manifest, out: Path, *, crops: int = CROPS, progress: Callable[[int], None] = lambda n: None
) -> Path:
    """Writes the crops of a manifest of faces into shards below `out`; what a killed run has finished is kept.

    Args:
        progress: called with the number of crops of each finished shard.
    Returns: the index, which appears when all shards are there.
    Raises: UnmaskError for a manifest of media, and for a crop that is gone or not the one that was cut.
    """
    if manifest.kind != "faces":
        raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")
    out.mkdir(parents=True, exist_ok=True)
    begun = {"format": FORMAT, "source": f"{content_hash(manifest.path)}/{crops}", "shards": []}
    found = _index(out / INDEX) or _index(out / BEGUN)
    done: list[dict[str, Any]] = found["shards"] if found and found["source"] == begun["source"] else []
    if found and done and (out / INDEX).exists():
        return out / INDEX
    (out / INDEX).unlink(missing_ok=True)
    for number, rows in enumerate(_batches(manifest, out, crops)):
        if number >= len(done):
            name = f"{number:06d}.tar"
            done.append({"name": name, "count": len(rows), "sha256": _shard(manifest, rows, out / name)})
            _write(out / BEGUN, json.dumps(begun | {"shards": done}).encode())
        progress(len(rows))
    for stale in {p.name for p in out.glob("[0-9]*.tar")} - {s["name"] for s in done}:
        (out / stale).unlink()  # of another table, or of larger shards
    _write(out / INDEX, json.dumps(begun | {"shards": done}, indent=1).encode())
    (out / BEGUN).unlink(missing_ok=True)
    shutil.rmtree(out / SORTING, ignore_errors=True)
    return out / INDEX


def _index(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError):
        return None
    return found


def _batches(manifest: Manifest, out: Path, crops: int) -> Iterator[list[FaceRow]]:
    """Rows with a crop, in the order of sha256(item_id); sorted outside of memory, should there be many."""
    with duckdb.connect(config={"temp_directory": str(out / SORTING)}) as database:
        database.register("rows", pa.RecordBatchReader.from_batches(manifest.arrow_schema, manifest.tables()))
        asked = "SELECT * FROM rows WHERE reason = '' ORDER BY sha256(item_id), relpath"
        table = database.sql(asked).to_arrow_reader(GROUP)
        rows = (values for batch in table for values in batch.to_pylist(maps_as_pydicts="strict"))
        while some := [{k: v for k, v in row.items() if v is not None} for row in islice(rows, crops)]:
            yield [FaceRow.model_validate(values) for values in some]


def _shard(manifest: Manifest, rows: list[FaceRow], path: Path) -> str:
    """Writes one tar, whole or not at all; returns its sha256."""
    fresh = path.with_name(f".{path.name}.partial")
    with tarfile.open(fresh, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            name = PurePosixPath(row.relpath)
            _add(tar, name.name, _crop(manifest, row))
            if row.mask_relpath:
                _add(tar, f"{name.stem}.mask.png", manifest.file(row.dataset, row.mask_relpath).read_bytes())
            _add(tar, f"{name.stem}.json", json.dumps(row.model_dump(mode="json"), ensure_ascii=False).encode())
    fresh.replace(path)
    return content_hash(path)


def _crop(manifest: Manifest, row: FaceRow) -> bytes:
    path = manifest.file(row.dataset, row.relpath)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"cannot read {path}, the crop of {row.item_id!r}: {error.strerror}") from None
    if row.sha256 and hashlib.sha256(data).hexdigest() != row.sha256:
        raise ManifestError(f"{path} is not the crop that was cut for {row.item_id!r}; cut the faces again")
    return data


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, no date: equal crops give equal bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.partial")
    fresh.write_bytes(data)
    fresh.replace(path)
