"""The manifest: one Parquet table of a data set, one row for each image, video or face, read in row groups.

What every adapter writes and what training, measuring and the commands read. Paths are POSIX, relative to the root of
their data set; the roots stand once in the file's metadata, so that a moved copy needs one change and no new index.
A row of faces (`FaceRow`) repeats the row it was cut from and points back to it by `media_id`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from unmask.errors import ManifestError
from unmask.output import move, regular
from unmask.types import Plain

SCHEMA = "unmask.manifest/1"
GROUP = 16_384  # rows of a row group: what a reader holds in memory at a time
Split = Literal["train", "val", "test"]
Family = Literal["", "FS", "FR", "EFS", "FE", "TTS", "VC", "PAD", "SBI"]
# FS face swap, FR reenactment or lip-sync, EFS entire synthesis, FE edit, TTS and VC sound, PAD print or replay,
# SBI made here from a real image


class Row(Plain):
    """One media file: an image, a video, a folder of frames. Label 1 = fake or attack, always; None = not labelled."""

    dataset: str = Field(min_length=1)
    item_id: str = Field(min_length=1, description="unique: dataset/method/compression/stem")
    relpath: str = Field(description="POSIX, relative to the data set's root; empty where there is no file")
    media_type: Literal["video", "image", "frame_seq", "audio_video"] = "image"
    label: Literal[0, 1] | None = None
    group_id: str = Field(min_length=1, description="leakage group: what shares a face or a source")
    release: str = ""
    label_native: str = Field("", description="the label as the data set writes it")
    task: Literal["deepfake", "synthetic", "attribution", "sequence", "pad", "av"] = "deepfake"
    method: str = Field("", description="what made it; empty for real")
    family: Family = ""
    generator_version: str = ""
    compression: str = ""
    identity: str = ""
    target_id: str = Field("", description="who or what supplies the scene")
    source_id: str = Field("", description="who or what supplies the face")
    pair_key: str = Field("", description="item_id of the untouched original; a real's own item_id")
    split: Split | None = None
    split_source: str = Field("", description='the file that says so, "derived", or "derived:..."')
    fold: str = ""
    perturbations: tuple[str, ...] = ()
    demographics: dict[str, str] = Field(default_factory=dict)
    segments: tuple[tuple[float, float], ...] = Field((), description="manipulated seconds, from and to")
    mask_relpath: str = ""
    audio_label: Literal[0, 1] | None = None
    sha256: str = ""
    bytes: int | None = None
    flags: tuple[str, ...] = Field((), description='what to look out for: "straddles-source", "duplicate", ...')
    caption: tuple[str, ...] = Field((), description="what people wrote of the image; several allowed")
    extra: dict[str, str] = Field(default_factory=dict)


class FaceRow(Row):
    """One face in one frame of a file, or the reason why there is none. `relpath` is the crop's, empty if failed."""

    media_id: str = Field(min_length=1, description="item_id of the row it was cut from")
    frame: int = Field(ge=0, description="position in presentation order")
    t: float = Field(description="seconds from the first frame")
    track: int | None = None
    window: int | None = Field(None, description="number of the window of frames in a row that this frame is of")
    window_index: int | None = Field(None, description="its place in the window, from 0; one matrix cuts them all")
    box: tuple[float, float, float, float] | None = Field(None, description="x0, y0, x1, y1 in pixels of the frame")
    points: tuple[float, ...] | None = Field(None, description="x, y of the five points, pixels of the frame")
    matrix: tuple[float, ...] | None = Field(None, description="2 x 3, row by row: frame -> crop")
    score: float | None = Field(None, description="the face detector's confidence")
    face_detector: str = Field("", description="sha256 of the face detector's weights")
    size: int | None = Field(None, description="side of the crop, pixels")
    margin: float | None = None
    template: str = ""
    overlap: float | None = Field(None, description="share of the face box that the manipulation mask covers")
    reason: str = Field("", description="why there is no crop; empty where there is one")


class SentenceRow(Row):
    """A sentence, or sentences that belong together. There is no file, and `relpath` is empty."""

    text: str = Field(min_length=1)
    other: str = Field("", description="the second sentence of a pair; one that follows from `text`")
    negative: str = Field("", description="one that contradicts `text`: a hard negative")
    score: float | None = Field(None, description="how alike people found `text` and `other`, on the set's own scale")


_TEXTS = pa.map_(pa.string(), pa.string())
_TYPES: dict[str, pa.DataType] = {
    "label": pa.int8(),
    "audio_label": pa.int8(),
    "bytes": pa.int64(),
    "perturbations": pa.list_(pa.string()),
    "flags": pa.list_(pa.string()),
    "caption": pa.list_(pa.string()),
    "demographics": _TEXTS,
    "extra": _TEXTS,
    "segments": pa.list_(pa.list_(pa.float64())),
    "frame": pa.int32(),
    "track": pa.int32(),
    "window": pa.int32(),
    "window_index": pa.int32(),
    "size": pa.int32(),
    "t": pa.float64(),
    "score": pa.float32(),
    "margin": pa.float32(),
    "overlap": pa.float32(),
    "box": pa.list_(pa.float32()),
    "points": pa.list_(pa.float32()),
    "matrix": pa.list_(pa.float64()),
}
_KINDS: dict[str, type[Row]] = {"media": Row, "faces": FaceRow, "sentences": SentenceRow}
_WORDS = {"media": ("caption",), "faces": ("caption",), "sentences": ("text", "other", "negative", "score")}


def arrow_schema(row: type[Row]) -> pa.Schema:
    """The table's columns: those of the pydantic row, in its order; what is not listed above is text."""
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in row.model_fields])


class Writer:
    """Writes a manifest row group by row group; the file appears under its name only when all of it is written.

    with Writer(path, {"FaceForensics++": root}) as out:
        out.add(row)
    """

    def __init__(self, path: Path, roots: dict[str, Path] | Path, row: type[Row] = Row) -> None:
        """`roots`: dataset -> folder, or one folder for every data set that comes.

        Roots below the manifest's own folder are stored relative to it.
        """
        self.path, self.row, self.roots, self.count = regular(path), row, roots, 0
        self.schema = arrow_schema(row)
        self._seen: set[str] = set()
        self._held: list[Row] = []
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(self._partial, self.schema, compression="zstd")
        return self

    def add(self, row: Row) -> None:
        self._held.append(row)
        self._seen.add(row.dataset)
        self.count += 1
        if len(self._held) >= GROUP:
            self._flush()

    def add_table(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Rows that come out of another manifest, columns and all; they are not checked again.

        Columns that an older manifest lacks are empty.
        """
        self._flush()
        self.count += rows.num_rows
        self._seen.update(pc.unique(rows.column("dataset")).to_pylist())
        batch = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        for field in self.schema:
            if field.name not in batch.column_names:
                batch = batch.append_column(field, pa.nulls(len(batch), field.type))
        self._file.write_table(batch.select(self.schema.names).cast(self.schema), row_group_size=GROUP)

    def _flush(self) -> None:
        if self._held:
            columns = [pa.array([getattr(r, f.name) for r in self._held], f.type) for f in self.schema]
            self._file.write_table(pa.Table.from_arrays(columns, schema=self.schema))
            self._held.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            self._file.add_key_value_metadata(self._metadata())
        self._file.close()
        if kind is None:
            move(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)

    def _metadata(self) -> dict[str, str]:
        kind = next(name for name, of in _KINDS.items() if of is self.row)
        roots = self.roots if isinstance(self.roots, dict) else dict.fromkeys(sorted(self._seen), self.roots)
        stored = {name: _relative(root.resolve(), self.path.parent) for name, root in roots.items()}
        return {"unmask": SCHEMA, "kind": kind, "roots": json.dumps(stored)}


class Manifest:
    """A manifest on disk; nothing but its footer is read before it is asked for."""

    def __init__(self, path: Path) -> None:
        """Raises: UnmaskError, if `path` is missing, no Parquet table or no manifest of this version."""
        self.path = path
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise ManifestError(f"{path} is not a manifest: {error}; make one with `unmask data index`") from None
        metadata = {k.decode(): v.decode() for k, v in (self._file.metadata.metadata or {}).items()}
        if metadata.get("unmask") != SCHEMA:
            raise ManifestError(f"{path} is a table but no {SCHEMA} manifest; make one with `unmask data index`")
        self.kind = metadata["kind"]
        self.row = _KINDS[self.kind]
        self.roots: dict[str, Path] = {
            k: (path.resolve().parent / v).resolve() for k, v in json.loads(metadata["roots"]).items()
        }

    def __reduce__(self) -> tuple[type[Manifest], tuple[Path]]:
        """Another process opens the file anew."""
        return Manifest, (self.path,)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __repr__(self) -> str:
        return f"<Manifest of {len(self):,} {self.kind} rows, {', '.join(self.roots)}: {self.path}>"

    @property
    def arrow_schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The row groups in order, as Arrow batches of the chosen columns."""
        yield from self._file.iter_batches(batch_size=GROUP, columns=list(columns) if columns else None)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows at once; a million labels are a megabyte, a million rows are not."""
        return self._file.read(columns=list(columns))

    def __iter__(self) -> Iterator[Row]:
        """Rows, checked. Raises: UnmaskError that names the row and the field that does not fit."""
        number = 0
        for batch in self.tables():
            for values in batch.to_pylist(maps_as_pydicts="strict"):
                try:
                    yield self.row.model_validate({k: v for k, v in values.items() if v is not None})
                except ValidationError as error:
                    first = error.errors()[0]
                    raise ManifestError(f"{self.path}, row {number}: {first['loc']}: {first['msg']}") from None
                number += 1

    def file(self, dataset: str, relpath: str) -> Path:
        """Where a row's file lies. Raises: UnmaskError for a path that leaves its root: manifests come from others."""
        pure = PurePosixPath(relpath)
        if not relpath or pure.is_absolute() or ".." in pure.parts or "\0" in relpath:
            raise ManifestError(f"{self.path}: {relpath!r} is not a path below the root of {dataset}")
        if dataset not in self.roots:
            raise ManifestError(f"{self.path} names no root for the data set {dataset!r}")
        return self.roots[dataset] / pure

    @cached_property
    def digest(self) -> str:
        """sha256 over what a result depends on (id, path, label, split, group, content, words), rows in any order."""
        columns = ("item_id", "relpath", "label", "split", "group_id", "sha256")
        words = tuple(c for c in _WORDS[self.kind] if c in self.arrow_schema.names)
        lines = []
        for batch in self.tables((*columns, *words)):
            for row in zip(*(batch.column(c).to_pylist() for c in (*columns, *words)), strict=True):
                about, said = row[: len(columns)], row[len(columns) :]
                line = (*about, *said) if any(said) else about  # a row without words has the digest that it always had
                lines.append(hashlib.sha256(json.dumps(line, separators=(",", ":")).encode()).digest())
        return hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def write(path: Path, rows: Iterable[Row], roots: dict[str, Path] | Path, row: type[Row] = Row) -> Manifest:
    """All of `rows` into a new manifest at `path`."""
    with Writer(path, roots, row) as out:
        for one in rows:
            out.add(one)
    return Manifest(path)


def derived_split(group_id: str, train: float = 0.6, val: float = 0.15) -> Split:
    """A split by hash of the leakage group, that no later file can disturb; the rest is test."""
    place = int.from_bytes(hashlib.sha256(group_id.encode()).digest()[:4], "big") / 2**32
    return "train" if place < train else "val" if place < train + val else "test"


def _relative(root: Path, home: Path) -> str:
    return root.relative_to(home).as_posix() if root.is_relative_to(home) else str(root)
