"""Which files a scan looks at, and what it passes over: nothing in a folder is left out without a word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unmask.errors import InputError
from unmask.media.sniff import HEAD, PICTURES, VIDEOS, describe, sniff
from unmask.types import PassedOver, printable

SUFFIXES = frozenset(suffix for kind in (*PICTURES.values(), *VIDEOS.values()) for suffix in kind.suffixes) - {".ts"}
# .ts is TypeScript as often as MPEG-TS: there the first bytes decide alone.
NAMED = 20  # of the files that are passed over for one reason, so many are named


@dataclass
class Listing:
    """The files to scan in their order, and per reason those that are not looked at."""

    files: list[str] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, *, allow_url: bool = False) -> list[str]:
        """Lists what is named so; returns the files that were not listed before. Raises: as `listed`."""
        if not name:
            raise InputError("an empty path; name a file or a folder (. is the current one)")
        if is_url(name):
            if not allow_url:
                raise InputError(f"{name} is an address; to fetch it say so with --url (in Python allow_url=True)")
            found = [name]
        elif Path(name).is_dir():
            found = _Folder(name, self).read()
            if not found:
                over = f"; passed over: {told(self.passed_over())}" if self.passed else ""
                raise InputError(f"no image or video in {name} (hidden files are left alone{over})")
        elif os.path.lexists(name):
            found = [name]
        else:
            raise InputError(f"no such file or folder: {name}")
        known = set(self.files)
        fresh = [path for path in dict.fromkeys(found) if path not in known]
        self.files += fresh
        return fresh

    def passed_over(self) -> tuple[PassedOver, ...]:
        """The reasons, the most frequent first."""
        ordered = sorted(self.passed.items(), key=lambda item: -len(item[1]))
        return tuple(PassedOver(why=why, count=len(names), first=tuple(names[:NAMED])) for why, names in ordered)


def listed(sources: Sequence[str | Path], *, allow_url: bool = False) -> Listing:
    """The files to scan: those named, and below each folder all that look like images or videos, sorted.

    In folders a file counts when its suffix or its first bytes are those of a media file: a damaged image is reported,
    a README is passed over. A folder that may not be read is listed as if it were a file, so that it fails by name.
    Links are followed, once, unless they lead to what lies in the same folder; hidden files are left alone. What is
    named directly is always tried.

    Raises: UnmaskError when a path is empty or does not exist, a folder holds nothing to scan, or addresses are not
        allowed.
    """
    listing = Listing()
    for source in sources:
        listing.add(os.fspath(source), allow_url=allow_url)
    return listing


def is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def told(passed: Iterable[PassedOver]) -> str:
    """In words: "text (12), a JPEG XL image (2)"."""
    return ", ".join(f"{one.why} ({one.count:,})" for one in passed)


class _Folder:
    """One folder that is named, with all below it."""

    def __init__(self, name: str, listing: Listing) -> None:
        self._name, self._listing, self._found = name, listing, list[str]()
        self._top = os.path.realpath(name)
        self._read = set[tuple[int, int]]()  # folders: a link may lead to one a second time, or back

    def read(self) -> list[str]:
        self._folder(self._name)
        return self._found

    def _folder(self, path: str) -> None:
        try:
            status = Path(path).stat()
            if (status.st_dev, status.st_ino) in self._read:
                self._pass("a link to a folder that is looked at anyway", path)
                return
            self._read.add((status.st_dev, status.st_ino))
            with os.scandir(path) as found:
                entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError:
            self._found.append(path)  # whoever scans it will say why
            return
        inner = [entry for entry in entries if _is_folder(entry)]
        for entry in entries:
            if entry not in inner and self._wanted(entry):
                self._file(str(Path(entry.path)))  # "a.png" and not "./a.png"
        for entry in inner:
            if self._wanted(entry):
                self._folder(str(Path(entry.path)))

    def _wanted(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry is to be looked at under this name."""
        if not entry.is_symlink():
            return True
        real = os.path.realpath(entry.path)
        if not Path(real).exists():
            self._pass("a link that leads nowhere", entry.path)
        elif f"{real}/".startswith(f"{self._top}/"):
            self._pass("a link to what lies in the same folder", entry.path)
        else:
            return True
        return False

    def _file(self, path: str) -> None:
        why = _no_medium(Path(path))
        if why:
            self._pass(why, path)
        else:
            self._found.append(path)

    def _pass(self, why: str, path: str) -> None:
        self._listing.passed.setdefault(why, []).append(printable(str(Path(path))))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _no_medium(path: Path) -> str:
    """What a file is instead of an image or a video; "" for one that looks like a media file or cannot be opened."""
    if path.suffix.lower() in SUFFIXES:
        return ""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return "a pipe, socket or device"
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return ""  # whoever scans it will say why
    if sniff(head) is not None:
        return ""
    what = describe(head).partition(";")[0]
    return "data of an unknown kind" if what.startswith("data of an unknown kind") else what
