"""DFLIP-3K: images of thousands of personal text-to-image models, by family and model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets._files import (
    STRADDLES_SOURCE,
    Medium,
    files,
    in_two_splits,
    read_json,
    strangers,
    train_or_val,
)
from unmask.data.manifest import Row, Split, derived_split

CARD = DataCard(
    title="DFLIP-3K",
    paper="Wang et al., 2024, arXiv 2401.02335",
    access="Hugging Face nebula/DFLIP3K; the first release was a list of addresses",
    terms="CC BY-NC 4.0; each image's rights remain with its author",
    layout="third-party loader",
    splits="dflip3k_meta.json where it is in the copy (train and test, validation derived); else derived by name",
    unverified=(
        "folders and the JSON are of a later reimplementation (github.com/iamwangyabin/DFLIP), not the first release",
        "that real_pair/ repeats the names of fake/, which groups rest on",
        "763 thousand fake and 641 thousand real there",
    ),
    traps=(
        "the JSON's split is drawn image by image: prompts, seeds and models stand on both sides",
        "reals are photographs, fakes mostly illustrations: style and file format alone tell much",
        "for unseen models hold out by generator_version: `unmask data filter`",
    ),
)
_META = "dflip3k_meta.json"
_SIDES: dict[str, Literal[0, 1]] = {"fake": 1, "real_pair": 0}


class _Record(BaseModel):
    image_path: str
    is_fake: Literal[0, 1]
    split: Split


_RECORDS = TypeAdapter(list[_Record])


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images of fake/<family>/<model>/ and real_pair/. Raises: UnmaskError for a damaged dflip3k_meta.json."""
    yield from strangers(root, (*_SIDES, "assets", _META))
    meta = next((p for p in (root / _META, root / "assets" / _META) if p.is_file()), None)
    listed = {r.image_path: r for r in read_json(meta, _RECORDS)} if meta else {}
    torn = in_two_splits((_group(path), r.split) for path, r in listed.items())
    seen: set[str] = set()
    for side in _SIDES:
        for one in files(root, side, PICTURES):
            path = one.relpath if isinstance(one, Problem) else one.path
            record = listed.get(path)
            seen.add(path)
            if isinstance(one, Problem):
                yield one
            elif len(one.parts) < (4 if side == "fake" else 2):
                yield Problem(path, "unknown", "not below fake/<family>/<model>/")
            elif listed and record is None:
                yield Problem(path, "unknown", f"{_META} does not list it")
            elif record and record.is_fake != _SIDES[side]:
                yield Problem(path, "inconsistent", f"{_META} says is_fake {record.is_fake}")
            else:
                yield _row(one, record, _group(path) in torn)
    yield from (Problem(path, "missing", f"{_META} lists it") for path in sorted(set(listed) - seen))


def _group(path: str) -> str:
    """An original and its forgery have one name below both folders, but not one suffix."""
    return f"dflip3k/{PurePosixPath(path.partition('/')[2]).with_suffix('')}"


def _row(one: Medium, record: _Record | None, torn: bool) -> Row:
    side, *below = one.parts
    fake, group = side == "fake", _group(one.path)
    split: Split
    split, by = derived_split(group), "derived"
    if record:
        split, by = train_or_val(group, _META) if record.split == "train" else (record.split, _META)
    family, model = below[:2] if len(below) > 2 else ("", "")
    return Row(
        dataset="dflip3k",
        item_id=f"dflip3k/{one.path}",
        relpath=one.path,
        label=1 if fake else 0,
        label_native=side,
        group_id=group,
        task="attribution",
        method=family if fake else "",
        family="EFS" if fake else "",
        generator_version=f"{family}/{model}" if fake else "",
        split=split,
        split_source=by,
        bytes=one.bytes,
        flags=(STRADDLES_SOURCE,) if torn else (),
    )
