"""The research collection that the embedded detector learns from: one folder, one `MANIFEST.csv.gz`, fixed splits.

A split is a property of the leakage group (actor, person), never of the file. Where a set has no published groups,
the file itself is the group. What is `unseen` has no training part at all: its forgeries are the test of what the
detector has learnt beyond its own examples.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from unmask.data.adapter import DataCard, Problem
from unmask.data.index import index
from unmask.data.manifest import Family, Row, Split, derived_split
from unmask.types import UnmaskError

UNSEEN = ("ciplab_photoshop", "ffpp_c23_videos", "dfdc_videos")
REAL_ONLY = ("lfw_deepfunneled", "utkface_crop")


@dataclass(frozen=True)
class Entry:
    """One image or video of the collection's list. Paths are relative to the collection, POSIX."""

    path: str
    set: str
    label: int  # 1 = fake
    method: str
    split: Split
    group: str  # no group stands in two splits
    real: str | None = None  # the untouched twin of a fake, where it is known
    identity: str = ""
    sha256: str = ""
    flags: tuple[str, ...] = ()  # why training leaves it out: "duplicate", "resembles-held-out"


def usable(root: Path) -> Iterator[Entry]:
    """All usable rows of the collection at `root`.

    DFDC's official actor split is kept. Left out: byte-identical duplicates, and training fakes whose face resembles a
    validation or test person (`cross_flag` = 1).

    Raises:
        FileNotFoundError: `root` holds no MANIFEST.csv.gz.
    """
    return (entry for entry in entries(root) if not entry.flags)


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


CARD = DataCard(
    title="The research collection of the embedded detector",
    paper="parts of DFDC (2006.07397), FaceForensics++ (1901.08971), StyleGAN/FFHQ (1812.04948), LFW, UTKFace, CIPLAB",
    access="not distributed: put together from the named sets, with a MANIFEST.csv.gz",
    terms="research use, set by set; UTKFace and FFHQ non-commercial",
    layout="distributor",
    counts={
        "dfdc_faces224/real": 7473,
        "dfdc_faces224/fake": 7473,
        "140k_stylegan256/real": 500,
        "140k_stylegan256/fake": 500,
        "ciplab_photoshop/real": 100,
        "ciplab_photoshop/fake": 100,
        "ffpp_c23_videos/real": 10,
        "ffpp_c23_videos/fake": 30,
        "dfdc_videos/real": 1,
        "dfdc_videos/fake": 1,
        "lfw_deepfunneled/real": 900,
        "utkface_crop/real": 1465,
    },
    splits="DFDC by actor from pairs.csv; FaceForensics++, DFDC videos and CIPLAB are test only; the rest derived",
    traps=(
        "file size and power spectrum separate some of the sets: treat both classes alike before scoring",
        "LFW and UTKFace have no forgeries: beside another set's fakes they teach the source",
        "byte-identical duplicates and training fakes that wear a validation or test face are flagged",
    ),
)
_FAMILY: dict[str, Family] = {"Face2Face": "FR", "StyleGAN": "EFS", "stylegan": "EFS"}
_UTK_SEX, _UTK_RACE = ("male", "female"), ("white", "black", "asian", "indian", "other")


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every file that MANIFEST.csv.gz lists, those that training leaves out included, flagged.

    Raises: UnmaskError without a MANIFEST.csv.gz.
    """
    if not (root / "MANIFEST.csv.gz").is_file():
        raise UnmaskError(f"{root} holds no MANIFEST.csv.gz, so it is not the collection")
    for entry in entries(root):
        path = root / entry.path
        if not path.is_file():
            yield Problem(entry.path, "missing", "MANIFEST.csv.gz lists it")
            continue
        yield _row(entry, path.stat().st_size)


def _row(entry: Entry, size: int) -> Row:
    name = PurePosixPath(entry.path)
    clip = name.suffix == ".mp4"
    return Row(
        dataset=entry.set,
        item_id=str(name.with_suffix("")),
        relpath=entry.path,
        media_type="video" if clip else "image",
        label=1 if entry.label else 0,
        label_native="fake" if entry.label else "real",
        group_id=entry.group,
        task="synthetic" if entry.set == "140k_stylegan256" else "deepfake",
        method=entry.method if entry.label else "",
        family="" if not entry.label else _FAMILY.get(entry.method, "FE" if "photoshop" in entry.set else "FS"),
        compression="c23" if entry.set == "ffpp_c23_videos" else "",
        identity=entry.identity,
        pair_key=str(PurePosixPath(entry.real or entry.path).with_suffix("")) if entry.real or not entry.label else "",
        split=entry.split,
        split_source="pairs.csv" if entry.set == "dfdc_faces224" else "derived",
        demographics=_demographics(entry),
        sha256=entry.sha256,
        bytes=size,
        flags=entry.flags,
    )


def _demographics(entry: Entry) -> dict[str, str]:
    """UTKFace: age in the file's name, race and sex in the folder's; the set's own labels, known to be noisy."""
    if entry.set != "utkface_crop":
        return {}
    parts = PurePosixPath(entry.path).name.split("_")
    try:
        age, sex, race = int(parts[0]), _UTK_SEX[int(parts[1])], _UTK_RACE[int(parts[2])]
    except (ValueError, IndexError):
        return {}
    return {"age": str(age), "sex": sex, "race": race}


def main() -> None:
    """`python -m training.collection ROOT OUT`: the collection's manifest, with content hashes."""
    parser = argparse.ArgumentParser(prog="python -m training.collection", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    found = index(sys.modules[__name__], asked.root, asked.out, hashes=True)
    print(f"{len(found.manifest)} rows, {found.problems or 'no problems'}")


if __name__ == "__main__":
    main()
