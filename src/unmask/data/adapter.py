"""What every data set adapter is made of: the card it carries, the problems it reports, the walk it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from unmask.types import Plain, is_text, printable

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


Folders = frozenset[tuple[int, int]]  # device and number of folders that are being read


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name; nothing where it is missing or may not be read.

    Hidden files are left out, and names that are not UTF-8: no manifest can hold them. `passed_over` names the latter.
    """
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not e.name.startswith(".") and is_text(e.name)), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def kind(entry: os.DirEntry[str]) -> Literal["folder", "file", ""]:
    """What an entry is, links followed; "" for what is neither, a link in a circle among it."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError:
        return ""


def inside_of(folder: Path, above: Folders) -> Folders | None:
    """`above` and this folder; None where a link has led back to a folder that is being read."""
    try:
        status = folder.stat()
    except OSError:
        return above
    key = (status.st_dev, status.st_ino)
    return None if key in above else above | {key}


def walk(root: Path, below: str = "", above: Folders = frozenset()) -> Iterator[tuple[str, int]]:
    """(POSIX path relative to `root`, bytes) of every file below `root/below`, sorted, hidden files left out.

    Links are followed, to files and to folders, but not in a circle.
    """
    folder = root / below if below else root
    inside = inside_of(folder, above)
    if inside is None:
        return
    for entry in entries(folder):
        path = f"{below}/{entry.name}" if below else entry.name
        what = kind(entry)
        if what == "folder":
            yield from walk(root, path, inside)
        elif what == "file":
            yield path, entry.stat().st_size


def passed_over(root: Path) -> Iterator[Problem]:
    """What no adapter is shown: names that are not UTF-8, folders that may not be read, links that lead nowhere."""
    yield from _passed_over(root, "", frozenset())


def _passed_over(root: Path, below: str, above: Folders) -> Iterator[Problem]:
    folder = root / below if below else root
    inside = inside_of(folder, above)
    if inside is None:
        yield Problem(printable(below), "unknown", "a link back to a folder that it lies in")
        return
    try:
        with os.scandir(folder) as found:
            odd = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        yield Problem(printable(below or "."), "missing", f"a folder that cannot be read: {error.strerror}")
        return
    for entry in odd:
        path = f"{below}/{entry.name}" if below else entry.name
        if not is_text(entry.name):
            yield Problem(printable(path), "unknown", "its name is not UTF-8; rename it")
        elif kind(entry) == "folder":
            yield from _passed_over(root, path, inside)
        elif not kind(entry) and entry.is_symlink():
            yield Problem(path, "missing", "a link that leads nowhere")
