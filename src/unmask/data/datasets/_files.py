"""What the layouts of this folder share: media files and frame folders on disk, and the lists that describe them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from unmask.data.adapter import CLIPS, PICTURES, Folders, Problem, entries, inside_of, kind, walk
from unmask.data.manifest import Split, derived_split
from unmask.errors import ManifestError

T = TypeVar("T")
STRADDLES_SOURCE = "straddles-source"  # the same source material stands in another split too
STRADDLES_IDENTITY = "straddles-identity"  # the same person stands in another split too


@dataclass(frozen=True)
class Medium:
    """A video, an image, or a folder of `frames` images, as it lies below the root."""

    path: str
    bytes: int
    frames: int | None = None

    @property
    def stem(self) -> str:
        """The name without its suffix; a folder's name has none."""
        name = self.path.rpartition("/")[2]
        return name if self.frames is not None else name.rpartition(".")[0]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts


def files(
    root: Path,
    below: str = "",
    suffixes: tuple[str, ...] = CLIPS,
    *,
    lists: tuple[str, ...] = (),
    beside: tuple[str, ...] = (),
) -> Iterator[Medium | Problem]:
    """Every file with one of `suffixes` below `root/below`; other files and those of no bytes as problems.

    `lists`: names of metadata files, and `beside`: suffixes of what lies beside a video (boxes of faces); passed over.
    """
    for path, size in walk(root, below):
        if path.rpartition("/")[2] in lists or path.lower().endswith(beside):
            continue
        if not path.lower().endswith(suffixes):
            yield Problem(path, "unknown", f"not one of {' '.join(suffixes)}")
        elif not size:
            yield Problem(path, "empty", "no bytes")
        else:
            yield Medium(path, size)


def sequences(root: Path, below: str = "", above: Folders = frozenset()) -> Iterator[Medium | Problem]:
    """Every folder below `root/below` that holds images, as one media file.

    Not by `walk`, which does not see a folder without files: an unpacked set's most frequent damage.
    """
    folder = root / below if below else root
    inside = inside_of(folder, above)
    if inside is None or not folder.is_dir():
        return
    found = entries(folder)
    frames = size = 0
    if not found:
        yield Problem(below or ".", "empty", "a folder without files")
    for entry in found:
        path = f"{below}/{entry.name}" if below else entry.name
        what = kind(entry)
        if what == "folder":
            yield from sequences(root, path, inside)
        elif not what:
            continue
        elif not entry.name.lower().endswith(PICTURES):
            yield Problem(path, "unknown", "not an image")
        elif not (length := entry.stat().st_size):
            yield Problem(path, "empty", "no bytes")
        else:
            frames, size = frames + 1, size + length
    if frames:
        yield Medium(below, size, frames)


def strangers(root: Path, known: Iterable[str], below: str = "") -> Iterator[Problem]:
    """What lies in `root/below` itself and the layout does not know; one problem for a whole folder."""
    expected = set(known)
    for name in folder_names(root, below, everything=True):
        if name not in expected:
            yield Problem(f"{below}/{name}" if below else name, "unknown", "not part of the published layout")


def folder_names(root: Path, below: str = "", *, everything: bool = False) -> list[str]:
    """The sorted names of the folders (or of `everything`) in `root/below`, hidden ones left out."""
    return [e.name for e in entries(root / below if below else root) if everything or kind(e) == "folder"]


def read_json(path: Path, form: TypeAdapter[T]) -> T:
    """A metadata file, checked. Raises: UnmaskError that names the file, the place in it and the remedy."""
    try:
        return form.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(map(str, first["loc"]))
        raise ManifestError(
            f"{path} is damaged ({where or 'top'}: {first['msg']}); fetch it from the set again"
        ) from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines that are not blank. Raises: UnmaskError for a file that is no text."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"{path} is damaged (not UTF-8 text); fetch it from the set again") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """A CSV with a header that has `columns`. Raises: UnmaskError that names the file and what it lacks."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            absent = [c for c in columns if c not in (reader.fieldnames or ())]
            table = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} is damaged ({error}); fetch it from the set again") from None
    if absent:
        raise ManifestError(f"{path} has no column {absent[0]!r}; fetch it from the set again")
    return table


def train_or_val(group_id: str, source: str) -> tuple[Split, str]:
    """The split of an official training row where the set has no validation: a tenth of the groups is held out."""
    return ("train", source) if derived_split(group_id, 0.9, 0.1) == "train" else ("val", "derived")


def in_two_splits(sides: Iterable[tuple[str, Split | None]]) -> set[str]:
    """Of (person, split) pairs, the persons that stand in more than one split."""
    first: dict[str, Split] = {}
    return {who for who, split in sides if split is not None and first.setdefault(who, split) != split}


def crossing(group_id: str, others: Iterable[str]) -> tuple[str, ...]:
    """The flag of a row that also shows a person whose own group has another derived split; none where it agrees."""
    own = derived_split(group_id)
    return (STRADDLES_IDENTITY,) if any(derived_split(other) != own for other in others) else ()
