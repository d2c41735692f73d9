"""DFDC Preview: 66 paid actors, two unnamed face-swap methods, one dataset.json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import (
    STRADDLES_IDENTITY,
    Medium,
    files,
    in_two_splits,
    read_json,
    strangers,
    train_or_val,
)
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="DFDC Preview (DFDCP)",
    paper="Dolhansky et al., 2019, arXiv 1910.08854",
    access="a form, then AWS",
    terms="DFDC Preview terms, no redistribution",
    layout="third-party loader",
    counts={"real": 1131, "fake": 4119},
    splits="official train and test (dataset.json, set); validation derived from the train groups",
    unverified=(
        "target_id, swapped_id and augmentations in dataset.json are from memory: people are read off the paths",
    ),
    traps=(
        "a group is the target actor; a forgery also shows the swapped actor's face (source_id)",
        "rows whose actors stand in two splits, the derived validation included, are flagged",
    ),
)
_REAL = re.compile(r"original_videos/(?P<target>\d+)/(?P<clip>(?P=target)_(?P<suffix>[A-Z]+)_(?P<n>\d+))\.mp4")
_FAKE = re.compile(
    r"(?P<method>method_[AB])/(?P<target>\d+)/(?P=target)_(?P<suffix>[A-Z]+)"
    r"/(?P<source>\d+)_(?P=target)_(?P=suffix)_(?P<n>\d+)\.mp4"
)


class _Entry(BaseModel):
    """What dataset.json says of one video; fields that are not asked for are passed over."""

    label: Literal["real", "fake"]
    set: Literal["train", "test"]
    augmentations: tuple[str, ...] | None = None


_ENTRIES = TypeAdapter(dict[str, _Entry])


def rows(root: Path) -> Iterator[Row | Problem]:
    """The videos that dataset.json lists. Raises: UnmaskError if it is damaged."""
    yield from strangers(root, ("dataset.json", "original_videos", "method_A", "method_B"))
    if not (root / "dataset.json").is_file():
        yield Problem("dataset.json", "missing", "without it no video has a label or a split")
        return
    entries = read_json(root / "dataset.json", _ENTRIES)
    found, seen = list[Row](), set[str]()
    for folder in ("original_videos", "method_A", "method_B"):
        for one in files(root, folder, (".mp4",)):
            seen.add(one.relpath if isinstance(one, Problem) else one.path)
            placed = one if isinstance(one, Problem) else _row(one, entries.get(one.path))
            if isinstance(placed, Row):
                found.append(placed)
            else:
                yield placed
    torn = in_two_splits((who, r.split) for r in found for who in _people(r))
    for row in found:
        yield row.model_copy(update={"flags": (STRADDLES_IDENTITY,)}) if torn & set(_people(row)) else row
    yield from (Problem(path, "missing", "dataset.json lists it") for path in sorted(set(entries) - seen))


def _people(row: Row) -> tuple[str, ...]:
    return tuple(who for who in (row.target_id, row.source_id) if who)


def _row(one: Medium, entry: _Entry | None) -> Row | Problem:
    match = _REAL.fullmatch(one.path) or _FAKE.fullmatch(one.path)
    if match is None or entry is None:
        return Problem(
            one.path, "unknown", "not the name of a video" if match is None else "dataset.json does not list it"
        )
    named = match.groupdict()
    method = named.get("method", "")
    if (entry.label == "fake") != bool(method):
        return Problem(one.path, "inconsistent", f"dataset.json says {entry.label}, the folder does not")
    target, group = named["target"], f"dfdc_preview/{named['target']}"
    split: Split
    split, by = train_or_val(group, "dataset.json") if entry.set == "train" else ("test", "dataset.json")
    return Row(
        dataset="dfdc_preview",
        item_id=f"dfdc_preview/{method or 'original_videos'}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if method else 0,
        label_native=entry.label,
        group_id=group,
        method=method,
        family="FS" if method else "",
        identity=target,
        target_id=target,
        source_id=named.get("source", ""),
        pair_key=f"dfdc_preview/original_videos/{target}_{named['suffix']}_{named['n']}",
        split=split,
        split_source=by,
        perturbations=entry.augmentations or (),
        bytes=one.bytes,
    )
