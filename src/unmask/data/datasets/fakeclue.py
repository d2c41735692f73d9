"""FakeClue: images of seven kinds, real and made, each with an explanation in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets import _ffpp
from unmask.data.datasets._files import (
    STRADDLES_SOURCE,
    Medium,
    files,
    folder_names,
    in_two_splits,
    read_json,
    train_or_val,
)
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="FakeClue",
    paper="FakeVLM, NeurIPS 2025, arXiv 2503.14905",
    access="Hugging Face lingcco/FakeClue: train.zip, test.zip, data_json/",
    terms="tagged Apache-2.0, but parts are of FaceForensics++, GenImage and others under their own terms",
    layout="third-party loader",
    splits="official, by JSON; validation derived from train",
    unverified=("the levels below a category's fake/ and real/ are known of ff++ only", "more than 100,000 images"),
    traps=(
        "the JSON writes 1 for real and 0 for fake",
        "ff++ images are frames of FaceForensics++ videos, whose official split is not kept",
        "the explanations were written by models, not by people",
        "outside ff++ nobody published which images share a source: each is a group of its own",
    ),
)
_CLIP = re.compile(r"(\d{3})(?:_\d{3})?")


class _Record(BaseModel):
    """One entry of the JSON; the conversations are left where they are."""

    image: str
    label: Literal[0, 1]
    cate: str = ""


_RECORDS = TypeAdapter(list[_Record])


def rows(root: Path) -> Iterator[Row | Problem]:
    """The images that data_json/{train,test}.json describe. Raises: UnmaskError for a damaged JSON."""
    sides: tuple[Split, ...] = ("train", "test")
    found: list[Row] = []
    for side in sides:
        table = root / "data_json" / f"{side}.json"
        if not table.is_file():
            yield Problem(f"data_json/{side}.json", "missing", "without it the images have no label")
            continue
        listed = {PurePosixPath(r.image).as_posix(): r for r in read_json(table, _RECORDS)}
        home = f"{side}/{side}" if side in folder_names(root, side) else side
        for one in files(root, home, PICTURES):
            path = one.relpath if isinstance(one, Problem) else one.path
            record = listed.pop(path.removeprefix(f"{home}/"), None)
            placed = one if isinstance(one, Problem) else _row(one, home, record, side)
            if isinstance(placed, Row):
                found.append(placed)
            else:
                yield placed
        yield from (Problem(f"{home}/{path}", "missing", f"{side}.json names it") for path in sorted(listed))
    torn = in_two_splits((r.group_id, r.split) for r in found)
    for row in found:
        yield row.model_copy(update={"flags": (STRADDLES_SOURCE,)}) if row.group_id in torn else row


def _row(one: Medium, home: str, record: _Record | None, side: Split) -> Row | Problem:
    parts = one.path.removeprefix(f"{home}/").split("/")
    if record is None:
        return Problem(one.path, "unknown", f"{side}.json does not name it")
    fake = record.label == 0
    folder = next((part for part in parts[:-1] if part in ("real", "fake")), None)
    if folder not in (None, "fake" if fake else "real"):
        return Problem(one.path, "inconsistent", f"{side}.json says {record.label} (1 = real), its folder {folder}")
    item, clip = f"fakeclue/{side}/{'/'.join(parts)}", _CLIP.fullmatch(parts[-2]) if len(parts) > 1 else None
    of_ffpp = parts[0] == "ff++" and clip is not None
    group = _ffpp.groups()[clip[1]] if of_ffpp and clip else item
    split, by = train_or_val(group, "train.json") if side == "train" else ("test", "test.json")
    return Row(
        dataset="fakeclue",
        item_id=item,
        relpath=one.path,
        label=1 if fake else 0,
        label_native=str(record.label),
        group_id=group,
        task="deepfake" if of_ffpp else "synthetic",
        method=(parts[2] if of_ffpp else parts[0]) if fake else "",
        compression=next((p for p in parts if p in ("raw", "c23", "c40")), "") if of_ffpp else "",
        split=split,
        split_source=by,
        bytes=one.bytes,
        extra={"category": record.cate or parts[0]},
    )
