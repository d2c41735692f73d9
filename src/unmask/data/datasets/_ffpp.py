"""The official facts of FaceForensics++ that other sets build on: its split, and which videos share a source.

From github.com/ondyari/FaceForensics (MIT), kept as `splits/faceforensics.json`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from unmask.data.manifest import Split


@cache
def splits() -> dict[str, Split]:
    """Video id "000".."999" -> official split."""
    return {clip: split for split, pairs in _facts()[0].items() for pair in pairs for clip in pair}


@cache
def partners() -> dict[str, str]:
    """Video id -> the one it was swapped with; each pair gives two forgeries of a method, one in each direction."""
    pairs = [pair for some in _facts()[0].values() for pair in some]
    return dict(pairs) | {b: a for a, b in pairs}


@cache
def groups() -> dict[str, str]:
    """Video id -> leakage group: the connected component of swap partners and videos of one YouTube video."""
    pairs, same_video = _facts()
    parent = {clip: clip for clip in splits()}

    def top(clip: str) -> str:
        while parent[clip] != clip:
            clip = parent[clip]
        return clip

    for first, *others in [*(p for some in pairs.values() for p in some), *same_video]:
        for other in others:
            low, high = sorted((top(first), top(other)))
            parent[high] = low
    return {clip: f"faceforensics/{top(clip)}" for clip in parent}


@cache
def straddling() -> frozenset[str]:
    """The groups that the official split tears apart, through YouTube videos that gave videos to two splits."""
    sides: dict[str, set[Split]] = {}
    for clip, split in splits().items():
        sides.setdefault(groups()[clip], set()).add(split)
    return frozenset(group for group, some in sides.items() if len(some) > 1)


def item_id(method: str, compression: str, stem: str) -> str:
    """The id of a row of the `faceforensics` layout; `method` is "original" for real clips."""
    return f"faceforensics/{method}/{compression}/{stem}"


@cache
def _facts() -> tuple[dict[Split, list[tuple[str, str]]], list[list[str]]]:
    """(split -> pairs, videos of one video)."""
    facts = json.loads((Path(__file__).parent / "splits" / "faceforensics.json").read_text("utf-8"))
    return {split: [(pair[:3], pair[4:]) for pair in pairs] for split, pairs in facts["pairs"].items()}, facts[
        "same_video"
    ]
