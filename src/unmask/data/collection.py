"""The research collection that the embedded detector learns from: one folder, one `MANIFEST.csv.gz`, fixed splits.

A split is a property of the leakage group (actor, person), never of the file. Where a set has no published groups,
the file itself is the group. What is `unseen` has no training part at all: its forgeries are the test of what the
detector has learnt beyond its own examples.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from unmask.data.manifest import Split, derived_split

UNSEEN = ("ciplab_photoshop", "ffpp_c23_videos", "dfdc_videos")
REAL_ONLY = ("lfw_deepfunneled", "utkface_crop")


@dataclass(frozen=True)
class Row:
    """One picture or clip. Paths are relative to the collection, POSIX."""

    path: str
    set: str
    label: int  # 1 = fake
    method: str
    split: Split
    group: str  # no group stands in two splits
    real: str | None = None  # the untouched twin of a fake, where it is known


@dataclass(frozen=True)
class Entry(Row):
    """A row with all that the collection's own list says of it."""

    identity: str = ""
    sha256: str = ""
    flags: tuple[str, ...] = ()  # why training leaves it out: "duplicate", "resembles-held-out"


def rows(root: Path) -> Iterator[Row]:
    """All usable rows of the collection at `root`.

    DFDC's official actor split is kept. Left out: byte-identical doubles, and training fakes whose face resembles a
    validation or test person (`cross_flag` = 1).

    Raises:
        FileNotFoundError: `root` holds no MANIFEST.csv.gz.
    """
    for e in entries(root):
        if not e.flags:
            yield Row(e.path, e.set, e.label, e.method, e.split, e.group, e.real)


def entries(root: Path) -> Iterator[Entry]:
    """Every row of the collection's list, what `rows` leaves out included and flagged."""
    with (root / "dfdc_faces224" / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    actors = {p["real"]: (p["split"], p["group"]) for p in pairs} | {p["fake"]: (p["split"], p["group"]) for p in pairs}
    twins = {p["fake"]: p["real"] for p in pairs}
    leaking = {p["fake"] for p in pairs if p["split"] == "train" and p["cross_flag"] == "1"}
    with gzip.open(root / "MANIFEST.csv.gz", "rt", newline="") as file:
        for entry in csv.DictReader(file):
            path, of = entry["path"], entry["set"]
            flags = ("duplicate",) * ("dup_of" in entry["note"]) + ("resembles-held-out",) * (path in leaking)
            split: Split
            if of == "dfdc_faces224":
                said, group = actors[path]
                split = cast(Split, said)
            else:
                group = _group(entry)
                split = "test" if of in UNSEEN else derived_split(group)
            fake = int(entry["label"] == "fake")
            person = "" if entry["identity"] == "unknown" else entry["identity"]
            twin = twins.get(path)
            yield Entry(path, of, fake, entry["method"], split, group, twin, person, entry["sha256"], flags)


def _group(entry: dict[str, str]) -> str:
    """LFW: the person. FaceForensics++: both partners of the exchange. Else the file, for want of anything better."""
    if entry["set"] == "lfw_deepfunneled":
        return f"lfw/{entry['identity']}"
    if entry["set"] == "ffpp_c23_videos":
        return "ffpp/" + "_".join(sorted(_PARTNERS[entry["identity"]]))
    return f"{entry['set']}/{Path(entry['path']).name}"


_PAIRS = (("183", "253"), ("210", "241"), ("252", "266"), ("672", "720"), ("828", "830"))
_PARTNERS = {one: pair for pair in _PAIRS for one in pair}
