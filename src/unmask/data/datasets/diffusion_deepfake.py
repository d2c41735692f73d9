"""Diffusion Deepfake: DiffusionDB-Face (Stable Diffusion) and JourneyDB-Face (Midjourney)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets._files import Medium, files, folder_names, train_or_val
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="Diffusion Deepfake (DiffusionDB-Face, JourneyDB-Face)",
    paper="Bhattacharyya et al., 2024, arXiv 2404.01579",
    access="project page surrey-uplab.github.io/research/diffusion_deepfake",
    terms="DiffusionDB CC0; JourneyDB's own terms, non-commercial (from memory); the originals' own",
    layout="memory",
    counts={"DiffusionDB-Face": 24_794, "JourneyDB-Face": 87_833},
    splits="by folder, as assumed; validation derived from train where there is no val/",
    unverified=("the whole layout <set>/<train|val|test>/<real|fake>/ is an assumption", "counts are a survey's"),
    traps=(
        "generated images are PNG or WebP of fixed sizes, originals JPEG: treat both alike before scoring",
        "both sets are said to share 94,120 originals: index with --hash to find them",
        "images of one prompt cannot be told from their names: each is a group of its own",
    ),
)
_SETS = {"diffusiondbface": "DiffusionDB-Face", "journeydbface": "JourneyDB-Face"}
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images of <set>/<split>/<real|fake>/; a set's name may be written with or without - and _."""
    for folder in folder_names(root, everything=True):
        name = _SETS.get("".join(c for c in folder.lower() if c.isalnum()))
        if name is None:
            yield Problem(folder, "unknown", f"neither {' nor '.join(_SETS.values())}")
            continue
        validated = "val" in folder_names(root, folder)
        for one in files(root, folder, PICTURES):
            yield one if isinstance(one, Problem) else _row(one, name, validated)


def _row(one: Medium, name: str, validated: bool) -> Row | Problem:
    _, *levels, _ = one.parts
    if len(levels) < 2 or levels[0] not in _SPLITS or levels[1] not in ("real", "fake"):
        return Problem(one.path, "unknown", "not below <set>/<train|val|test>/<real|fake>/")
    fake, split, by = levels[1] == "fake", _SPLITS[levels[0]], "folder"
    item = "/".join(("diffusion_deepfake", name, *one.parts[1:]))
    if split == "train" and not validated:
        split, by = train_or_val(item, by)
    return Row(
        dataset="diffusion_deepfake",
        item_id=item,
        relpath=one.path,
        label=1 if fake else 0,
        label_native=levels[1],
        group_id=item,
        task="synthetic",
        method=name if fake else "",
        family="EFS" if fake else "",
        split=split,
        split_source=by,
        bytes=one.bytes,
        extra={"set": name},
    )
