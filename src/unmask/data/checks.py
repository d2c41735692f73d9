"""What a manifest holds and what is wrong with it: counts, leakage, duplicates, missing and unknown files.

Asked of the Parquet file itself (DuckDB), so that a million rows take a second and no memory to speak of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from unmask.data.adapter import walk
from unmask.data.manifest import GROUP, Manifest
from unmask.errors import ManifestError


@dataclass(frozen=True)
class Count:
    """How many rows share data set, method and split."""

    dataset: str
    method: str
    split: str
    real: int
    fake: int
    unlabelled: int
    groups: int


@dataclass(frozen=True)
class Straddler:
    """A leakage group with rows in more than one split. `flagged` = its rows say so: an official split that leaks."""

    group_id: str
    splits: tuple[str, ...]
    rows: int
    flagged: bool


def counts(manifest: Manifest) -> list[Count]:
    """By data set, method and split, in that order."""
    found = _ask(
        manifest,
        """SELECT dataset, method, coalesce(split, ''), count(*) FILTER (label = 0), count(*) FILTER (label = 1),
                  count(*) FILTER (label IS NULL), count(DISTINCT group_id)
           FROM rows GROUP BY ALL ORDER BY ALL""",
    )
    return [Count(*row) for row in found]


def straddlers(manifest: Manifest) -> list[Straddler]:
    """Leakage groups that stand in two splits or more: a detector could know its test faces from training."""
    found = _ask(
        manifest,
        """SELECT group_id, list(DISTINCT split ORDER BY split), count(*), bool_or(len(flags) > 0)
           FROM rows WHERE split IS NOT NULL GROUP BY group_id HAVING count(DISTINCT split) > 1 ORDER BY group_id""",
    )
    return [Straddler(group, tuple(splits), rows, flagged) for group, splits, rows, flagged in found]


def duplicates(manifest: Manifest) -> list[tuple[str, ...]]:
    """item_ids of rows with equal content, by their sha256; rows without a hash cannot be told (see `hashed`)."""
    found = _ask(
        manifest,
        """SELECT list(item_id ORDER BY item_id) FROM rows WHERE sha256 != '' GROUP BY sha256
           HAVING count(*) > 1 ORDER BY 1""",
    )
    return [tuple(ids) for (ids,) in found]


def repeated_ids(manifest: Manifest) -> list[str]:
    """item_ids that more than one row claims."""
    return [i for (i,) in _ask(manifest, "SELECT item_id FROM rows GROUP BY 1 HAVING count(*) > 1 ORDER BY 1")]


def missing(manifest: Manifest, step: Callable[[int], None] = lambda n: None) -> Iterator[str]:
    """Paths of rows whose file is not there. `step` hears how many rows were looked at."""
    for batch in manifest.tables(["dataset", "relpath"]):
        for dataset, path in zip(batch["dataset"].to_pylist(), batch["relpath"].to_pylist(), strict=True):
            if path and not manifest.file(dataset, path).exists():
                yield f"{dataset}: {path}"
        step(batch.num_rows)


def unknown(manifest: Manifest) -> Iterator[str]:
    """Files below the roots that no row names; folders of frames count as named with all that is in them."""
    columns = ("dataset", "relpath", "mask_relpath", "media_type")
    table = manifest.table(columns).to_pydict()
    for root in sorted(set(manifest.roots.values())):
        named, folders = {manifest.path.name, f"{manifest.path.stem}.report.json"}, set[str]()
        for dataset, path, mask, kind in zip(*(table[c] for c in columns), strict=True):
            if manifest.roots.get(dataset) == root:
                named.update((path, mask))
                folders.update([path] if kind == "frame_seq" else [])
        for path, _ in walk(root):
            if path not in named and path.rpartition("/")[0] not in folders:
                yield str(root / path)


def content_hash(path: Path) -> str:
    """sha256 of a file, read in pieces; of a folder of frames, over the names and hashes of its files."""
    digest = hashlib.sha256()
    if path.is_dir():
        for name, _ in walk(path):
            digest.update(f"{name}\0{content_hash(path / name)}\0".encode())
        return digest.hexdigest()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def select(manifest: Manifest, condition: str) -> pa.RecordBatchReader:
    """Rows for which an SQL condition over the manifest's columns holds: "label = 1 AND method = 'Deepfakes'".

    Raises: UnmaskError for a condition that is none. It can read nothing but the manifest's rows.
    """
    found = _query(manifest, f"SELECT * FROM rows WHERE ({condition})", condition)  # noqa: S608 - it is the user's own
    return found.to_arrow_reader(GROUP)


def _ask(manifest: Manifest, question: str) -> list[tuple]:  # type: ignore[type-arg]
    return _query(manifest, question, question).fetchall()


def _query(manifest: Manifest, question: str, condition: str) -> duckdb.DuckDBPyRelation:
    connection = duckdb.connect(config={"enable_external_access": "false"})
    reader = pa.RecordBatchReader.from_batches(manifest.arrow_schema, manifest.tables())
    connection.register("rows", reader)
    try:
        return connection.sql(question)
    except duckdb.Error as error:
        raise ManifestError(
            f"{condition!r} is no condition over the manifest's columns: {str(error).splitlines()[0]}"
        ) from None
