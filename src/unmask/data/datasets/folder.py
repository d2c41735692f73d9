"""Any images and videos that lie in folders named for their label: real/ and fake/, with a method below fake/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from unmask.data.adapter import CLIPS, PICTURES, DataCard, Problem
from unmask.data.datasets._files import Medium, files
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="Your own folders: real/ and fake/",
    paper="none",
    access="your own files",
    terms="your own",
    layout="distributor",
    splits="by folders named train, val or test, above or below real/ and fake/; none where there are none",
    traps=(
        "a folder below real/ or below fake/<method>/ is one leakage group: a person or a video, not a source of many",
        "files of one name (without suffix) in real/ and in fake/ are one group: an original and its forgeries",
        "a class folder named train (ProGAN's has one) reads as a split: use the csv layout there",
        "the data set is called as its root folder is",
    ),
)
LABELS: dict[str, Literal[0, 1]] = {
    **dict.fromkeys(("real", "original", "originals", "authentic", "genuine", "pristine", "nature", "0_real"), 0),
    **dict.fromkeys(("fake", "forged", "manipulated", "synthetic", "generated", "ai", "1_fake"), 1),
}
SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_MASKS = {"mask", "masks"}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every image and video below a folder that says what it is.

    Folders read from the root: [set/] real|fake [/method or source] [/group] /file, and one of train, val or test
    anywhere among them. Case does not matter.
    """
    dataset = root.resolve().name or "folder"
    for one in files(root, suffixes=PICTURES + CLIPS):
        yield one if isinstance(one, Problem) else _row(one, dataset)


def _row(one: Medium, dataset: str) -> Row | Problem:
    folders = [(name, name.lower()) for name in one.path.split("/")[:-1]]
    said = [i for i, (_, low) in enumerate(folders) if low in LABELS]
    splits = {SPLITS[low] for _, low in folders if low in SPLITS}
    if not said:
        return Problem(one.path, "unknown", f"none of its folders is named {', '.join(LABELS)}")
    if len({LABELS[folders[i][1]] for i in said}) > 1:
        return Problem(one.path, "inconsistent", "its folders say both real and fake")
    if len(splits) > 1:
        return Problem(one.path, "inconsistent", f"its folders name two splits: {' and '.join(sorted(splits))}")
    if any(low in _MASKS for _, low in folders):
        return Problem(one.path, "unknown", "a mask is no media file: name masks in a table, with the csv layout")
    native, low = folders[said[0]]
    label, split = LABELS[low], next(iter(splits), None)
    above = [name for name, low in folders[: said[0]] if low not in SPLITS]
    below = [name for name, low in folders[said[0] + 1 :] if low not in SPLITS]
    # One folder below real/ is a person or a video; of several, the first is a source, as it is a method below fake/.
    kind = below.pop(0) if below and (label or len(below) > 1) else ""
    return Row(
        dataset=dataset,
        item_id=f"{dataset}/{one.path}",
        relpath=one.path,
        media_type="video" if one.path.lower().endswith(CLIPS) else "image",
        label=label,
        label_native=native,
        group_id=_group(dataset, above, below, split or "", one.stem),
        method=(kind or "".join(above[:1])) if label else "",
        split=split,
        split_source="folder" if split else "",
        bytes=one.bytes,
        extra=({"set": "/".join(above)} if above else {}) | ({"source": kind} if kind and not label else {}),
    )


def _group(dataset: str, above: list[str], below: list[str], split: str, stem: str) -> str:
    """The folder of a person or video, in whatever split it comes again, or the file's own name within its split.

    File names are counters more often than not, so that 0001.png of train and of test have nothing in common.
    """
    own = below[:1] or [f"{split}/{stem}" if split else stem]
    return "/".join((dataset, *above, *own))
