"""What the layouts of captioned images share: one row for an image and its captions, and the usual lists of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import PICTURES, Problem
from unmask.data.datasets._files import read_json, read_lines
from unmask.data.manifest import Row, Split

SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "dev": "val", "test": "test"}


class _Sentence(BaseModel):
    raw: str


class _Image(BaseModel):
    filename: str
    filepath: str = ""
    split: str
    sentences: list[_Sentence]


class _Karpathy(BaseModel):
    images: list[_Image]


def captioned(
    dataset: str,
    root: Path,
    path: str,
    captions: Iterable[str],
    *,
    group: str = "",
    split: Split | None = None,
    source: str = "",
) -> Row | Problem:
    """The row of an image below `root`, or what is wrong with it; nobody asked whether it is real.

    Args:
        group: leakage group; the path where nothing is known.
        source: of the split.
    """
    said = tuple(text for text in (" ".join(c.split()) for c in captions) if text)
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or not path.lower().endswith(PICTURES):
        return Problem(path, "unknown", f"not the path of an image below the root ({' '.join(PICTURES)})")
    if not said:
        return Problem(path, "empty", "no caption")
    file = root / pure
    if not file.is_file():
        return Problem(path, "missing", "its captions name it")
    if not (size := file.stat().st_size):
        return Problem(path, "empty", "no bytes")
    return Row(
        dataset=dataset,
        item_id=f"{dataset}/{pure}",
        relpath=pure.as_posix(),
        group_id=f"{dataset}/{group or pure}",
        split=split,
        split_source=source if split else "",
        bytes=size,
        caption=said,
    )


def karpathy(path: Path) -> dict[str, tuple[Split | None, list[str], str]]:
    """Karpathy's dataset_*.json: file name -> (split, captions, folder). COCO's `restval` trains, as is usual.

    Raises: UnmaskError for a damaged file.
    """
    found = read_json(path, TypeAdapter(_Karpathy))
    return {i.filename: (SPLITS.get(i.split), [s.raw for s in i.sentences], i.filepath) for i in found.images}


def tokens(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, file name, caption) of Flickr's lists.

    "name.jpg#0<tab>caption", "name.jpg,caption" or "name.jpg| 0| caption".
    A line of the list that is none has an empty file name.
    """
    for number, line in read_lines(path):
        if "\t" in line:
            name, _, text = line.partition("\t")
        elif "|" in line:
            name, _, text = (part.strip() for part in f"{line}||".split("|", 2))
            text = text.rstrip("| ")
        else:
            name, text = [*next(csv.reader([line])), "", ""][:2]
        name = name.strip().partition("#")[0]
        if number == 1 and not name.lower().endswith(PICTURES):
            continue  # a header
        yield number, name if name.lower().endswith(PICTURES) else "", text.strip()


def flickr(
    dataset: str, root: Path, lists: Iterable[str], folders: Iterable[str], splits: Mapping[str, Split | None]
) -> Iterator[Row | Problem]:
    """Images of the first of `folders`, captions of the first of `lists` that is there.

    Args:
        splits: file name -> split.
    """
    table = next((root / name for name in lists if (root / name).is_file()), None)
    if table is None:
        yield Problem(".", "missing", f"a list of captions: {' or '.join(lists)}")
        return
    folder = next((name for name in folders if (root / name).is_dir()), "")
    captions: dict[str, list[str]] = {}
    for number, name, text in tokens(table):
        if not name:
            yield Problem(table.name, "unknown", f"line {number} names no image")
        else:
            captions.setdefault(name, []).append(text)
    for name, said in captions.items():
        path = f"{folder}/{name}" if folder else name
        yield captioned(dataset, root, path, said, split=splits.get(name), source="official lists")
