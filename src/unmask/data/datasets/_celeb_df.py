"""What Celeb-DF v1 and v2 share: folders, names, and the list of testing videos, in which 1 means real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import Problem
from unmask.data.datasets._files import (
    STRADDLES_IDENTITY,
    Medium,
    files,
    in_two_splits,
    read_lines,
    strangers,
    train_or_val,
)
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

LIST = "List_of_testing_videos.txt"
NAMES = {
    "Celeb-real": re.compile(r"(?P<target>id\d+)_(?P<rec>\d{4})"),
    "YouTube-real": re.compile(r"(?P<clip>\d{5})"),
    "Celeb-synthesis": re.compile(r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<rec>\d{4})"),
}
_LINE = re.compile(r"([01])\s+((?:Celeb-real|YouTube-real|Celeb-synthesis)/[^/\s]+\.mp4)")


def rows(root: Path, dataset: str) -> Iterator[Row | Problem]:
    """The videos of the three folders. Raises: UnmaskError for a damaged list."""
    yield from strangers(root, (*NAMES, LIST))
    listed = testing(root / LIST)
    if listed is None:
        yield Problem(LIST, "missing", "without it no row has a split")
    found: list[Row] = []
    for folder in NAMES:
        for one in files(root, folder, (".mp4",)):
            placed = one if isinstance(one, Problem) else _row(one, folder, dataset, listed)
            if isinstance(placed, Row):
                found.append(placed)
            else:
                yield placed
    torn = in_two_splits((who, r.split) for r in found for who in _people(r))
    for row in found:
        yield row.model_copy(update={"flags": (STRADDLES_IDENTITY,)}) if torn & set(_people(row)) else row
    for path in sorted(set(listed or ()) - {r.relpath for r in found}):
        yield Problem(path, "missing", f"no usable video, and {LIST} lists it")


def testing(path: Path) -> dict[str, int] | None:
    """Path -> our label (1 = fake) of the testing videos; the list itself writes 1 for real. None without a list."""
    if not path.is_file():
        return None
    listed = {}
    for number, line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ManifestError(
                f"{path}, line {number} is not '<0 or 1> <folder>/<video>.mp4'; fetch it from the set again"
            )
        listed[match[2]] = 1 - int(match[1])
    return listed


def group(who: str) -> str:
    """The leakage group of an identity ("id7") or of a YouTube-real video ("00012"), the same in both versions."""
    return f"celeb_df/{who}"


def _people(row: Row) -> tuple[str, ...]:
    return tuple(who for who in (row.target_id, row.source_id) if who)


def _row(one: Medium, folder: str, dataset: str, listed: dict[str, int] | None) -> Row | Problem:
    match = NAMES[folder].fullmatch(one.stem)
    if match is None or one.folder != folder:
        return Problem(one.path, "unknown", f"not the name of a video of {folder}")
    named, fake = match.groupdict(), folder == "Celeb-synthesis"
    if listed is not None and listed.get(one.path, fake) != fake:
        return Problem(one.path, "inconsistent", f"{LIST} and the folder disagree on the label (1 = real in the list)")
    target, source = named.get("target", ""), named.get("source", "")
    group_id = group(target or named["clip"])
    split: Split | None
    split, by = (None, "") if listed is None else ("test", LIST) if one.path in listed else train_or_val(group_id, LIST)
    return Row(
        dataset=dataset,
        item_id=f"{dataset}/{folder}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if fake else 0,
        label_native=folder,
        group_id=group_id,
        method="Celeb-synthesis" if fake else "",
        family="FS" if fake else "",
        identity=target,
        target_id=target,
        source_id=source,
        pair_key=f"{dataset}/Celeb-real/{target}_{named['rec']}" if target else f"{dataset}/{folder}/{one.stem}",
        split=split,
        split_source=by,
        bytes=one.bytes,
    )
