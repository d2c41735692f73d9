"""Seq-DeepFake: faces changed in up to five steps, part by part or attribute by attribute, and in what order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import get_args

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets._files import (
    STRADDLES_SOURCE,
    Medium,
    files,
    folder_names,
    in_two_splits,
    read_table,
    strangers,
)
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="Seq-DeepFake (facial components, facial attributes)",
    paper="Shao, Wu and Liu, ECCV 2022, arXiv 2207.02204",
    access="OneDrive and Hugging Face rshaojimmy/Seq-DeepFake; github.com/rshaojimmy/SeqDeepFake",
    terms="non-commercial research; images of CelebAMask-HQ and FFHQ under their terms",
    layout="distributor",
    splits="official (annotations/{train,val,test}.csv)",
    unverified=(
        "that a file's name is the number of its source image, which groups and pairs rest on",
        "about 85,000 images in both tracks",
    ),
    traps=(
        "a label is a list of five steps; anything but five zeros is fake",
        "1 to 5 mean other things in the two tracks: see extra['steps'], which names them",
        "lists separate numbers with blanks or commas",
    ),
)
TRACKS = {
    "facial_components": ("nose", "eye", "eyebrow", "lip", "hair"),
    "facial_attributes": ("Bangs", "Eyeglasses", "Beard", "Smiling", "Young"),
}
_LABEL = re.compile(r"\[?\s*([0-5])[\s,]+([0-5])[\s,]+([0-5])[\s,]+([0-5])[\s,]+([0-5])\s*\]?")
_Lists = dict[str, tuple[Split, tuple[int, ...]]]  # <split>/<sequence>/<file> -> (split of the list, steps)


def rows(root: Path) -> Iterator[Row | Problem]:
    """The images of both tracks, told by their lists. Raises: UnmaskError for a damaged list."""
    yield from strangers(root, TRACKS)
    for track in (t for t in TRACKS if t in folder_names(root)):
        yield from strangers(root, ("annotations", "images"), track)
        yield from strangers(root, get_args(Split), f"{track}/images")
        listed, found = _Lists(), list[Row]()
        for split in get_args(Split):
            path = root / track / "annotations" / f"{split}.csv"
            if path.is_file():
                listed |= _list(path, split)
            else:
                yield Problem(f"{track}/annotations/{split}.csv", "missing", "without it its images have no label")
        for split in get_args(Split):
            for one in files(root, f"{track}/images/{split}", PICTURES):
                placed = one if isinstance(one, Problem) else _row(one, track, listed)
                listed.pop(_key(placed.relpath), None)
                if isinstance(placed, Row):
                    found.append(placed)
                else:
                    yield placed
        torn = in_two_splits((r.group_id, r.split) for r in found)
        for row in found:
            yield row.model_copy(update={"flags": (STRADDLES_SOURCE,)}) if row.group_id in torn else row
        yield from (Problem(f"{track}/images/{k}", "missing", "its list names it") for k in sorted(listed))


def _list(path: Path, split: Split) -> _Lists:
    found = _Lists()
    for number, line in enumerate(read_table(path, ("file_path", "label")), 2):
        match = _LABEL.fullmatch(line["label"].strip())
        if match is None:
            raise ManifestError(
                f"{path}, line {number}: {line['label']!r} is not five steps; fetch it from the set again"
            )
        found[_key(line["file_path"])] = split, tuple(map(int, match.groups()))
    return found


def _key(path: str) -> str:
    return "/".join(PurePosixPath(path).parts[-3:])


def _row(one: Medium, track: str, listed: _Lists) -> Row | Problem:
    split, sequence = one.parts[2], one.parts[-2]
    if len(one.parts) != 5 or _key(one.path) not in listed:
        return Problem(one.path, "unknown", "no list names it")
    said, steps = listed[_key(one.path)]
    names = "-".join(TRACKS[track][step - 1] for step in steps if step)
    if said != split or sequence != (names or "original"):
        return Problem(one.path, "inconsistent", f"{said}.csv says {names or 'original'}")
    return Row(
        dataset="seq_deepfake",
        item_id=f"seq_deepfake/{track}/{split}/{sequence}/{one.stem}",
        relpath=one.path,
        label=1 if names else 0,
        label_native=str(list(steps)),
        group_id=f"seq_deepfake/{track}/{one.stem}",
        task="sequence",
        method=track if names else "",
        family="FE" if names else "",
        source_id=one.stem,
        pair_key=f"seq_deepfake/{track}/{split}/original/{one.stem}",
        split=said,
        split_source=f"annotations/{said}.csv",
        bytes=one.bytes,
        extra={"track": track, "steps": names},
    )
