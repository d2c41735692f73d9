"""Any files that a table of one line each describes: CSV, TSV, or CSV with semicolons."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from pydantic import ValidationError

from unmask.data.adapter import CLIPS, PICTURES, DataCard, Problem, walk
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="Your own table: CSV or TSV",
    paper="none",
    access="your own files, and a table with a line for each",
    terms="your own",
    layout="distributor",
    splits="the column `split`; none without it",
    traps=(
        "label 1 is fake: a table in which 1 is real must be turned round before",
        "a file without `group` or `original` is a leakage group of its own",
        "paths are below the table's folder",
        "captions stand in `caption`, further ones in `caption.2`, `caption.3`; with them `label` may be left out",
    ),
)
LABELS: dict[str, Literal[0, 1] | None] = {"": None, "0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}
# column -> field of the manifest's row
FIELDS = {
    "path": "relpath",
    "label": "label",
    "split": "split",
    "group": "group_id",
    "original": "pair_key",
    "mask": "mask_relpath",
    "target": "target_id",
    "source": "source_id",
    **{
        same: same
        for same in ("dataset", "method", "family", "task", "compression", "identity", "media_type", "fold", "sha256")
    },
}
CAPTION = "caption"  # and "caption.2" ...
MAPS = ("demographics", "extra")  # "demographics.age" goes into demographics["age"]


def rows(root: Path) -> Iterator[Row | Problem]:
    """The files that the table `root` names. Raises: UnmaskError that names the line of the table and the remedy."""
    if not root.is_file():
        raise ManifestError(f"{root} is a folder: name the table itself, beside or above the files it lists")
    seen: set[str] = set()
    for number, line in _lines(root):
        path = _below(line["path"], root.parent)
        if path is None:
            yield Problem(line["path"], "unknown", f"line {number}: not a path below the table's folder, {root.parent}")
        elif path in seen:
            yield Problem(path, "inconsistent", f"line {number} names it a second time")
        else:
            seen.add(path)
            yield _row(root, number, line | {"path": path})


def _lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of a table whose header is understood."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=next((d for d in "\t;" if d in header), ","), strict=True)
            reader.fieldnames = [c.strip().lower() for c in reader.fieldnames or ()]
            _check(table, list(reader.fieldnames))
            for line in reader:
                if None in line or None in line.values():
                    wanted = len(reader.fieldnames)
                    raise ManifestError(
                        f"{table}, line {reader.line_num} has not {wanted} cells; quote cells with commas"
                    )
                yield reader.line_num, {column: text.strip() for column, text in line.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{table} is not a table in UTF-8 ({error}); save it as CSV again") from None


def _check(table: Path, columns: list[str]) -> None:
    for column in columns:
        known = (CAPTION, *FIELDS)
        if column not in known and not column.startswith(tuple(f"{name}." for name in (CAPTION, *MAPS))):
            near = difflib.get_close_matches(column, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"name it 'extra.{column}' to keep it"
            raise ManifestError(f"{table} has a column {column!r} that is not known; {hint}")
    for wanted in ("path",) if CAPTION in columns else ("path", "label"):
        if wanted not in columns:
            raise ManifestError(f"{table} has no column {wanted!r}; there is {', '.join(columns) or 'none'}")
    if len(set(columns)) < len(columns):
        raise ManifestError(f"{table} has two columns of one name; remove one")


def _below(path: str, home: Path) -> str | None:
    """The path relative to the table's folder, POSIX; None for one that leads elsewhere or nowhere."""
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute():
        here = PurePosixPath(home.absolute().as_posix())
        if not pure.is_relative_to(here):
            return None
        pure = pure.relative_to(here)
    return None if ".." in pure.parts or "\0" in path or not pure.parts else pure.as_posix()


def _row(table: Path, number: int, line: dict[str, str]) -> Row | Problem:
    path, where = line["path"], f"{table}, line {number}"
    kind, size = _medium(table.parent, path)
    if isinstance(size, Problem):
        return size
    _refuse(where, line, table.parent)
    dataset = line.get("dataset") or table.stem
    original = _below(line.get("original", ""), table.parent)
    values: dict[str, object] = {FIELDS[c]: text for c, text in line.items() if c in FIELDS and text}
    for name in MAPS:
        values[name] = {c.partition(".")[2]: t for c, t in line.items() if c.startswith(f"{name}.") and t}
    values["caption"] = tuple(t for c, t in line.items() if t and (c == CAPTION or c.startswith(f"{CAPTION}.")))
    label = LABELS[line.get("label", "").lower()]
    values |= {"dataset": dataset, "item_id": f"{dataset}/{path}", "bytes": size, "label": label}
    values |= {
        "label_native": line.get("label", ""),
        "group_id": f"{table.stem}/{line.get('group') or original or path}",
    }
    values |= {"mask_relpath": _below(line.get("mask", ""), table.parent) or ""}
    values |= {"pair_key": f"{dataset}/{original or path}" if original or label == 0 else ""}
    values |= {"media_type": line.get("media_type") or kind, "split_source": table.name if line.get("split") else ""}
    try:
        return Row.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        column = next(c for c, field in FIELDS.items() if field == first["loc"][0])
        raise ManifestError(f"{where}, {column}: {first['msg']}") from None


def _refuse(where: str, line: dict[str, str], home: Path) -> None:
    """Raises: UnmaskError for a cell that cannot be meant so."""
    if line.get("label", "").lower() not in LABELS:
        raise ManifestError(f"{where}: the label is {line['label']!r}; write real or 0, fake or 1, or nothing")
    if line.get("split") and line["split"] not in get_args(Split):
        raise ManifestError(f"{where}: the split is {line['split']!r}; write {', '.join(get_args(Split))} or nothing")
    if line.get("mask") and _below(line["mask"], home) is None:
        raise ManifestError(
            f"{where}: the mask {line['mask']!r} is not below the table's folder; write its path from there"
        )


def _medium(home: Path, path: str) -> tuple[str, int | Problem]:
    """(media type, bytes) of an image, a video or a folder of frames, or what is wrong with it."""
    file, low = home / path, path.lower()
    if file.is_dir():
        sizes = [size for name, size in walk(file) if "/" not in name and name.lower().endswith(PICTURES)]
        return "frame_seq", sum(sizes) or Problem(path, "empty", "a folder without images")
    if not file.is_file():
        return "", Problem(path, "missing", "the table names it")
    if not low.endswith(PICTURES + CLIPS):
        return "", Problem(path, "unknown", f"not one of {' '.join(PICTURES + CLIPS)}")
    return "video" if low.endswith(CLIPS) else "image", file.stat().st_size or Problem(path, "empty", "no bytes")
