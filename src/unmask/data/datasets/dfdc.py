"""DFDC, the Deepfake Detection Challenge: paid actors, opaque names, labels in a metadata.json for each part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, files, folder_names, read_json, read_table, strangers, train_or_val
from unmask.data.manifest import Row
from unmask.errors import ManifestError

CARD = DataCard(
    title="Deepfake Detection Challenge (DFDC)",
    paper="Dolhansky et al., 2020, arXiv 2006.07397",
    access="AWS or Kaggle, after agreeing to the licence; about 470 GB",
    terms="DFDC licence agreement, no redistribution",
    layout="distributor",
    counts={"real": 23_654 + 2_500, "fake": 104_500 + 2_500},
    splits="official: train parts and test folder; validation derived from the train groups; `fold` is the part",
    unverified=(
        "train's counts include videos held back for validation and test by the paper (from memory)",
        "fields of the test folder's metadata.json (is_fake) differ by release (from memory)",
        "forgeries of one original lie in one part (from memory); exceptions are reported",
    ),
    traps=(
        "never split by file: only `original` ties forgeries together; no list says who is who",
        "a test video names no original, so each is a group of its own",
        "some videos have no face or no image, several faces, or forged sound under the one label FAKE",
        "papers split by part (train 0-34, val 35-39, test 40-49): select by fold",
    ),
)
_KAGGLE = ("sample_submission.csv",)
_PART = re.compile(r"dfdc_train_part_(\d{1,2})")
SAMPLE = "train_sample_videos"  # what Kaggle gives to everybody: 400 of the train videos, of several parts
_LISTS = ("metadata.json", "labels.csv")


class _Entry(BaseModel):
    """What metadata.json says of one video; fields that are not asked for are passed over."""

    label: Literal["REAL", "FAKE"] | None = None
    is_fake: Literal[0, 1] | None = None
    original: str | None = None

    @property
    def fake(self) -> Literal[0, 1] | None:
        return self.is_fake if self.label is None else 1 if self.label == "FAKE" else 0


_ENTRIES = TypeAdapter(dict[str, _Entry])


def rows(root: Path) -> Iterator[Row | Problem]:
    """The train parts, at the root or in train/, Kaggle's samples, or one part as the root; and the test folder.

    Raises: UnmaskError for damaged metadata.
    """
    if (root / "metadata.json").is_file():
        match = _PART.fullmatch(root.resolve().name)
        yield from _placed(root, "", read_json(root / "metadata.json", _ENTRIES), match[1] if match else SAMPLE)
        return
    if (root / SAMPLE / "metadata.json").is_file():
        yield from _placed(root, SAMPLE, read_json(root / SAMPLE / "metadata.json", _ENTRIES), SAMPLE)
    seen: set[int] = set()
    for base in ("", "train"):
        parts = {name: int(m[1]) for name in folder_names(root, base) if (m := _PART.fullmatch(name))}
        yield from strangers(
            root, (*parts, *(() if base else ("train", "test", "test_videos", SAMPLE, *_KAGGLE))), base
        )
        for name, part in sorted(parts.items(), key=lambda p: p[1]):
            folder = f"{base}/{name}" if base else name
            if part in seen:
                yield Problem(folder, "inconsistent", f"part {part} is there twice")
                continue
            seen.add(part)
            if not (root / folder / "metadata.json").is_file():
                yield Problem(f"{folder}/metadata.json", "missing", "without it the part's videos have no labels")
                continue
            yield from _placed(root, folder, read_json(root / folder / "metadata.json", _ENTRIES), str(part))
    tests = [name for name in ("test", "test_videos") if name in folder_names(root)]
    yield from (Problem(name, "inconsistent", "a second test folder") for name in tests[1:])
    for folder in tests[:1]:
        entries = _test_entries(root / folder)
        if entries is None:
            yield Problem(f"{folder}/labels.csv", "missing", "without it the test videos are not labelled")
        yield from _placed(root, folder, entries, "")


def _test_entries(folder: Path) -> dict[str, _Entry] | None:
    """Labels of the test videos from labels.csv and, where there is one, metadata.json. None without either."""
    table, metadata = folder / "labels.csv", folder / "metadata.json"
    entries = read_json(metadata, _ENTRIES) if metadata.is_file() else {}
    if table.is_file():
        for line in read_table(table, ("filename", "label")):
            name, label = line["filename"], line["label"]
            if label not in ("0", "1"):
                raise ManifestError(f"{table}: the label of {name} is {label!r}, not 0 or 1; download it again")
            known = entries.get(name, _Entry())
            if known.fake not in (None, int(label)):
                raise ManifestError(
                    f"{table} and {metadata} disagree on {name}; remove the one that is not the release's"
                )
            entries[name] = known.model_copy(update={"label": None, "is_fake": int(label)})
    return entries if table.is_file() or metadata.is_file() else None


def _placed(root: Path, folder: str, entries: dict[str, _Entry] | None, part: str) -> Iterator[Row | Problem]:
    """The videos of one folder; `entries` None = nobody says what they are, `part` "" = the test folder."""
    seen: set[str] = set()
    for one in files(root, folder, (".mp4",), lists=_LISTS):
        name = (one.relpath if isinstance(one, Problem) else one.path).removeprefix(f"{folder}/" if folder else "")
        seen.add(name)
        entry = _Entry() if entries is None else (entries or {}).get(name)
        if isinstance(one, Problem):
            yield one
        elif "/" in name or entry is None:
            yield Problem(one.path, "unknown", "the folder's list does not name it")
        elif part and entry.fake is None:
            yield Problem(one.path, "inconsistent", "metadata.json gives it no label")
        else:
            if part != SAMPLE and entries and entry.original and entry.original not in entries:
                yield Problem(one.path, "inconsistent", f"its original {entry.original!r} is not of this folder")
            yield _row(one, entry, part)
    yield from (
        Problem(f"{folder}/{n}" if folder else n, "missing", "the folder's list names it")
        for n in sorted(set(entries or ()) - seen)
    )


def _row(one: Medium, entry: _Entry, part: str) -> Row:
    side = "train" if part else "test"
    original = (entry.original if entry.fake and entry.original else one.path.rpartition("/")[2]).removesuffix(".mp4")
    group = f"dfdc/{original}"
    split, by = train_or_val(group, "metadata.json") if part else ("test", "folder")
    return Row(
        dataset="dfdc",
        item_id=f"dfdc/{side}/{one.stem}",
        relpath=one.path,
        media_type="audio_video",
        label=entry.fake,
        label_native=entry.label or ("" if entry.is_fake is None else str(entry.is_fake)),
        group_id=group,
        pair_key=f"dfdc/{side}/{original}" if entry.original or entry.fake == 0 else "",
        split=split,
        split_source=by,
        fold=part,
        bytes=one.bytes,
    )
