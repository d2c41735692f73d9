"""What every data set adapter is made of: the card it carries, the problems it reports, the walk it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from unmask.nouns import Plain

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CLIPS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
Verified = Literal["distributor", "third-party loader", "memory"]


class DataCard(Plain):
    """What a reader must know of a data set before they use it. A literal in the adapter's file."""

    title: str
    paper: str = Field(description="authors, venue, year, arXiv")
    access: str = Field(description="how a copy is had")
    terms: str
    layout: Verified = Field(description="where the folder layout is known from")
    counts: dict[str, int] = Field(default_factory=dict, description='expected rows: "real", "fake", "Deepfakes", ...')
    splits: str = Field(description="official, derived or none, and from which file")
    unverified: tuple[str, ...] = Field((), description="what is from memory or from a third party")
    traps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What an adapter met and will not guess about. It goes into the report, never into the table."""

    relpath: str
    what: Literal["missing", "unknown", "empty", "inconsistent"]
    why: str


def walk(root: Path, below: str = "") -> Iterator[tuple[str, int]]:
    """(POSIX path relative to `root`, bytes) of every file below `root/below`, sorted, hidden files left out.

    Links are not followed out of the tree, so that a loop or a stranger's link cannot lead elsewhere.
    """
    try:
        with os.scandir(root / below if below else root) as found:
            entries = sorted(found, key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, path)
        elif entry.is_file():
            yield path, entry.stat().st_size
