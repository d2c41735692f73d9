"""FFIW-10K: videos with several people, of whom one or more were swapped, with a mask for each frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, files, folder_names, strangers
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="Face Forensics in the Wild (FFIW-10K)",
    paper="Zhou et al., CVPR 2021, arXiv 2103.16076",
    access="a form; github.com/tfzhou/FFIW",
    terms="research; no redistribution",
    layout="third-party loader",
    counts={"real": 8000 + 250 + 1738, "fake": 8000 + 250 + 1738},
    splits="official, by folder: train, val, test",
    unverified=(
        "the README shows source/, target/, target_mask/ with train and val; names like train_00000123 and the "
        "release folders FFIW10K-v1-release and -test are from a third party",
    ),
    traps=(
        "a label is of the clip: some face is forged; use the mask for the label of a face",
        "no identities are known",
    ),
)
_BASES = ("", "FFIW10K", "FFIW10K-v1-release", "FFIW10K-v1-release-test")
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
_NAME = re.compile(r"(train|val|test)_\d+")


def rows(root: Path) -> Iterator[Row | Problem]:
    """source/ (real) and target/ (forged) of whichever release folders are there."""
    yield from strangers(root, (*_BASES, "source", "target", "target_mask"))
    seen: dict[str, set[str]] = {"source": set(), "target": set()}
    for base in _BASES:
        for side in seen:
            folder = f"{base}/{side}" if base else side
            yield from strangers(root, _SPLITS, folder)
            for split in _SPLITS:
                masks = {} if side == "source" else _masks(root, f"{folder}_mask/{split}")
                for one in files(root, f"{folder}/{split}"):
                    yield one if isinstance(one, Problem) else _row(one, side, split, masks, seen[side])
    for side, other in (("source", "target"), ("target", "source")):
        for stem in sorted(seen[other] - seen[side]):
            yield Problem(f"{side}/{stem.partition('_')[0]}/{stem}.mp4", "missing", f"its {other} is there")


def _masks(root: Path, folder: str) -> dict[str, str]:
    """Stem -> mask, a video or a folder of images."""
    return {Path(name).stem: f"{folder}/{name}" for name in folder_names(root, folder, everything=True)}


def _row(one: Medium, side: str, split: str, masks: dict[str, str], seen: set[str]) -> Row | Problem:
    match = _NAME.fullmatch(one.stem)
    if match is None:
        return Problem(one.path, "unknown", "not <split>_<number>")
    if match[1] != split:
        return Problem(one.path, "inconsistent", f"its name says {match[1]}, its folder {split}")
    if one.stem in seen:
        return Problem(one.path, "inconsistent", "a second video of this name")
    seen.add(one.stem)
    fake = side == "target"
    return Row(
        dataset="ffiw",
        item_id=f"ffiw/{side}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if fake else 0,
        label_native=side,
        group_id=f"ffiw/{one.stem}",
        method="FFIW" if fake else "",
        family="FS" if fake else "",
        pair_key=f"ffiw/source/{one.stem}",
        split=_SPLITS[split],
        split_source="folder",
        mask_relpath=masks.get(one.stem, ""),
        bytes=one.bytes,
    )
