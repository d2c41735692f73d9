"""DeeperForensics-1.0: faces of 100 paid actors on FaceForensics++ videos, in eleven states of distortion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import get_args

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets import _ffpp
from unmask.data.datasets._files import (
    STRADDLES_IDENTITY,
    STRADDLES_SOURCE,
    Medium,
    files,
    in_two_splits,
    read_lines,
    strangers,
)
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="DeeperForensics-1.0",
    paper="Jiang et al., CVPR 2020, arXiv 2001.03024",
    access="a form; github.com/EndlessSora/DeeperForensics-1.0; 284 GB",
    terms="DeeperForensics terms of use; consented actors, no redistribution",
    layout="distributor",
    counts={"fake": 11_000},
    splits="official 703/96/201 (lists/splits); a distorted variant has the split of its stem",
    traps=(
        "it has no real class: the FaceForensics++ c23 originals are (pair_key); source_videos are not, and no rows",
        "those originals are clean: put the same distortions on them, or a detector learns the distortion",
        "its split is not that of FaceForensics++: extra['ff_split'] is the target video's there",
        "gender is the source actor's, by the letter of their id",
    ),
)
VARIANTS = (
    "end_to_end",
    *(f"end_to_end_level_{n}" for n in range(1, 6)),
    "end_to_end_random_level",
    *(f"end_to_end_mix_{n}_distortions" for n in (2, 3, 4)),
    "reenact_postprocess",
)
_NAME = re.compile(r"(?P<target>\d{3})_(?P<source>[MW]\d{3})")
_STEP = re.compile(r"(CS|CC|BW|GNC|GB|JPEG|VC):\d+")


def rows(root: Path) -> Iterator[Row | Problem]:
    """The manipulated clips. Raises: UnmaskError for a damaged list."""
    known = ("lists", "manipulated_videos", "source_videos", "terms_of_use.pdf", "unzip.sh")
    yield from strangers(root, known)
    yield from strangers(root, VARIANTS, "manipulated_videos")
    splits = _splits(root)
    if not splits:
        yield Problem("lists/splits", "missing", "without train.txt, val.txt and test.txt no row has a split")
    named = [
        (m["source"], _ffpp.groups()[m["target"]], s) for stem, s in splits.items() if (m := _NAME.fullmatch(stem))
    ]
    torn = in_two_splits((actor, s) for actor, _, s in named) | in_two_splits((group, s) for _, group, s in named)
    for variant in VARIANTS:
        folder = f"manipulated_videos/{variant}"
        if not (root / folder).is_dir():
            continue
        meta, seen = _distortions(root, variant), set[str]()
        for one in files(root, folder, (".mp4",)):
            seen.add((one.relpath if isinstance(one, Problem) else one.path).rpartition("/")[2])
            placed = one if isinstance(one, Problem) else _row(one, variant, splits, meta)
            yield _flagged(placed, torn) if isinstance(placed, Row) else placed
        for stem in sorted(s for s in splits if f"{s}.mp4" not in seen):
            yield Problem(f"{folder}/{stem}.mp4", "missing", "lists/splits names it")


def _splits(root: Path) -> dict[str, Split]:
    found: dict[str, Split] = {}
    for split in get_args(Split):
        path = root / "lists" / "splits" / f"{split}.txt"
        for number, line in read_lines(path) if path.is_file() else ():
            stem = line.removesuffix(".mp4")
            if not _NAME.fullmatch(stem) or found.setdefault(stem, split) != split:
                raise ManifestError(
                    f"{path}, line {number}: {line!r} is no video, or of two splits; fetch the lists again"
                )
    return found


def _distortions(root: Path, variant: str) -> dict[str, tuple[str, ...]]:
    """Stem -> "TYPE:LEVEL" in the order of their application; empty where the variant has no list."""
    path = root / "lists/manipulated_videos_distortions_meta" / f"manipulated_videos_{variant}_meta.txt"
    found = {}
    for number, line in read_lines(path) if path.is_file() else ():
        clip, *steps = line.split()
        if not all(_STEP.fullmatch(step) for step in steps):
            raise ManifestError(f"{path}, line {number} is not '<video> TYPE:LEVEL ...'; fetch the lists again")
        found[PurePosixPath(clip).stem] = tuple(steps)
    return found


def _row(one: Medium, variant: str, splits: dict[str, Split], meta: dict[str, tuple[str, ...]]) -> Row | Problem:
    match = _NAME.fullmatch(one.stem)
    if match is None or one.folder != f"manipulated_videos/{variant}":
        return Problem(one.path, "unknown", "not <FaceForensics++ video>_<actor>")
    if splits and one.stem not in splits:
        return Problem(one.path, "inconsistent", "no list of lists/splits names it")
    target, source = match["target"], match["source"]
    return Row(
        dataset="deeperforensics",
        item_id=f"deeperforensics/{variant}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1,
        label_native="manipulated",
        group_id=_ffpp.groups()[target],
        method="reenact_postprocess" if variant == "reenact_postprocess" else "end_to_end",
        family="FS",
        compression=variant,
        identity=source,
        target_id=target,
        source_id=source,
        pair_key=_ffpp.item_id("original", "c23", target),
        split=splits.get(one.stem),
        split_source="lists/splits" if splits else "",
        perturbations=meta.get(one.stem, ()),
        demographics={"gender": "male" if source.startswith("M") else "female"},
        bytes=one.bytes,
        extra={"ff_split": _ffpp.splits()[target]},
    )


def _flagged(row: Row, torn: set[str]) -> Row:
    """`torn`: the actors and the FaceForensics++ groups that the official lists put into two splits."""
    flags = (STRADDLES_SOURCE,) * (row.group_id in torn) + (STRADDLES_IDENTITY,) * (row.source_id in torn)
    return row.model_copy(update={"flags": flags}) if flags else row
