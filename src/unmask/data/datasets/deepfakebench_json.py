"""Frames in DeepfakeBench's arrangement: one JSON for each data set, which names labels, splits, videos and frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets import _celeb_df, _ffpp
from unmask.data.datasets._files import STRADDLES_IDENTITY, STRADDLES_SOURCE, in_two_splits, read_json
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="DeepfakeBench's JSON arrangement",
    paper="Yan et al., NeurIPS 2023 D&B, arXiv 2307.01426",
    access="made by the preprocessing of github.com/SCLBD/DeepfakeBench, or downloaded with its frames",
    terms="those of the data sets it was made from",
    layout="distributor",
    splits="the JSON's; a video listed in several is taken once, as test or else as train, and reported",
    traps=(
        "in the published lists validation is a copy of test, and Celeb-DF's train holds the test videos too",
        "DFD and UADFV are listed whole in every split, DFDC's train in validation too",
        "DFDC's validation also holds one video without a name, which is reported",
        "Celeb-DF's YouTube-real videos are missing or stand in for Celeb-real",
        "DF_real are the actors' source videos, which the set's authors do not count as its real class",
        "DFDC names no originals here, so each video is a leakage group of its own",
    ),
)
Known = tuple[Literal[0, 1], str, str]
# label -> (ours, data set, method); FF-FH is FaceShifter, FF-SH its other name
LABELS: dict[str, Known] = {
    "FF-real": (0, "faceforensics", ""),
    "FF-DF": (1, "faceforensics", "Deepfakes"),
    "FF-F2F": (1, "faceforensics", "Face2Face"),
    "FF-FS": (1, "faceforensics", "FaceSwap"),
    "FF-NT": (1, "faceforensics", "NeuralTextures"),
    "FF-FH": (1, "faceforensics", "FaceShifter"),
    "FF-SH": (1, "faceforensics", "FaceShifter"),
    "DFD_real": (0, "dfd", ""),
    "DFD_fake": (1, "dfd", "DeepFakeDetection"),
    "CelebDFv1_real": (0, "celeb_df_v1", ""),
    "CelebDFv1_fake": (1, "celeb_df_v1", "Celeb-synthesis"),
    "CelebDFv2_real": (0, "celeb_df_v2", ""),
    "CelebDFv2_fake": (1, "celeb_df_v2", "Celeb-synthesis"),
    "DFDCP_Real": (0, "dfdc_preview", ""),
    "DFDCP_FakeA": (1, "dfdc_preview", "method_A"),
    "DFDCP_FakeB": (1, "dfdc_preview", "method_B"),
    "DFDC_Real": (0, "dfdc", ""),
    "DFDC_Fake": (1, "dfdc", ""),
    "DF_real": (0, "deeperforensics", ""),
    "DF_fake": (1, "deeperforensics", "DeeperForensics"),
    "UADFV_Real": (0, "uadfv", ""),
    "UADFV_Fake": (1, "uadfv", "FakeApp"),
}
_OTHERS = re.compile(r"(?P<name>.*?)[-_]?(?P<label>real|fake)", re.IGNORECASE)
# data set -> what of a video's name is its leakage group
_GROUPS = {
    "faceforensics": re.compile(r"(\d{3})(?:_\d{3})?"),
    "deeperforensics": re.compile(r"(\d{3})_[MW]\d{3}|([MW]\d{3})_.+"),
    "celeb_df_v1": re.compile(r"(id\d+|\d{5})(?:_.*)?"),
    "celeb_df_v2": re.compile(r"(id\d+|\d{5})(?:_.*)?"),
    "dfd": re.compile(r"(\d{2})_.*"),
    "dfdc_preview": re.compile(r"(?:\d+_)?(\d+)_[A-Z]+_\d+"),
    "uadfv": re.compile(r"(\d{4})(?:_fake)?"),
}
_ONE_PERSON = ("celeb_df_v1", "celeb_df_v2", "dfd", "dfdc_preview")
# Of the splits that list a video the last counts: a copy of another split is no validation, and test is no training.
_RANK: tuple[Split, ...] = ("val", "train", "test")
_HOMES = tuple(f"{above}dataset_json{version}" for above in ("", "preprocessing/") for version in ("", "_v3"))


class _Clip(BaseModel):
    label: str
    frames: list[str]
    masks: list[str] = []


_Clips = dict[str, _Clip | dict[str, _Clip] | str | list[str]]  # video, or compression -> video; see `_named`
_FORM = TypeAdapter(dict[str, dict[str, dict[Split, _Clips]]])  # data set -> label -> split


@dataclass
class _Listed:
    """A video of one label and compression, with every split that lists it."""

    known: Known
    native: str
    compression: str
    name: str
    clip: _Clip
    source: str
    splits: set[Split]

    @property
    def item_id(self) -> str:
        label, dataset, method = self.known
        if dataset == "faceforensics":
            return _ffpp.item_id(method or "original", self.compression, self.name)
        return "/".join(p for p in (dataset, method or ("real", "fake")[label], self.compression, self.name) if p)

    @property
    def split(self) -> Split:
        return max(self.splits, key=_RANK.index)

    @property
    def group(self) -> str:
        """The group that the set's own layout gives, so that manifests joined with it do not leak."""
        dataset = self.known[1]
        match = _GROUPS[dataset].fullmatch(self.name) if dataset in _GROUPS else None
        who = next(filter(None, match.groups())) if match else self.name
        if dataset in ("faceforensics", "deeperforensics"):
            return _ffpp.groups().get(who, f"{dataset}/{who}")
        if dataset.startswith("celeb_df"):
            return _celeb_df.group(who)
        return f"dfd/actor/{who}" if dataset == "dfd" else f"{dataset}/{who}"


def rows(root: Path) -> Iterator[Row | Problem]:
    """A row for each video, its folder of frames. `root`: a JSON, or the folder above JSONs and frames.

    Where the JSON's paths are absolute, or of another machine, their end is sought below the root.

    Raises: UnmaskError without a JSON, and for one of another form.
    """
    tables = [root] if root.is_file() else sorted(p for home in ("", *_HOMES) for p in (root / home).glob("*.json"))
    tables = [t for t in tables if not t.name.endswith(".report.json")]
    if not tables:
        raise ManifestError(f"{root} holds no JSON, nor do {' and '.join(_HOMES)} below it; name the JSON itself")
    home, found = root if root.is_dir() else root.parent, dict[str, _Listed]()
    for table in tables:
        for one in _listed(table):
            if isinstance(one, Problem):
                yield one
            else:
                found.setdefault(one.item_id, one).splits.update(one.splits)
    torn = in_two_splits((one.group, one.split) for one in found.values())
    folders, several = dict[str, str](), Counter[tuple[str, str, str, Split]]()
    for item_id, one in sorted(found.items()):
        placed = _row(one, home, torn)
        if isinstance(placed, Row) and folders.setdefault(placed.relpath, item_id) != item_id:
            placed = Problem(placed.relpath, "inconsistent", f"{one.source} gives the folder to two videos")
        if len(one.splits) > 1:
            several[one.source, one.native, " and ".join(sorted(one.splits)), one.split] += 1
        yield placed
        if isinstance(placed, Row):
            yield from _frames(one, home, placed.relpath)
    for (source, native, splits, chosen), n in several.items():
        yield Problem(source, "inconsistent", f"{n} videos of {native} stand in {splits}: taken as {chosen}")


def _listed(table: Path) -> Iterator[_Listed | Problem]:
    for dataset, labels in read_json(table, _FORM).items():
        for native, splits in labels.items():
            known = _known(native, dataset)
            if known is None:
                yield Problem(table.name, "unknown", f"the label {native!r} says neither real nor fake")
                continue
            for split, clips in splits.items():
                if unnamed := [key for key, clip in clips.items() if isinstance(clip, str | list)]:
                    why = f"{split} of {native} has {' and '.join(unnamed)} among its clips: a video without a name"
                    yield Problem(table.name, "inconsistent", why)
                for compression, name, clip in _named(clips):
                    if clip.label == native:
                        yield _Listed(known, native, compression, name, clip, table.name, {split})
                    else:
                        yield Problem(table.name, "inconsistent", f"{name} is {clip.label!r} below {native!r}")


def _named(clips: _Clips) -> Iterator[tuple[str, str, _Clip]]:
    """(compression or "", name, video). DeepfakeBench's script writes one video of DFDC over the level of names."""
    for name, clip in clips.items():
        if isinstance(clip, _Clip):
            yield "", name, clip
        elif isinstance(clip, dict):
            yield from ((name, stem, one) for stem, one in clip.items())


def _known(native: str, dataset: str) -> Known | None:
    """What a label means. Of sets that DeepfakeBench does not know, the name must end in real or fake."""
    if native in LABELS:
        return LABELS[native]
    match = _OTHERS.fullmatch(native)
    if match is None:
        return None
    fake = match["label"].lower() == "fake"
    return (1, dataset, match["name"]) if fake else (0, dataset, "")


def _row(one: _Listed, home: Path, torn: set[str]) -> Row | Problem:
    label, dataset, method = one.known
    named = f"{one.source}: {one.native}/{one.name}"
    if not one.clip.frames:
        return Problem(named, "empty", "no frames are listed")
    above = {_parts(frame)[:-1] for frame in one.clip.frames}
    if len(above) > 1:
        return Problem(named, "inconsistent", "its frames lie in several folders")
    folder = _folder(home, next(iter(above)))
    if folder is None:
        return Problem("/".join(next(iter(above))), "missing", f"{one.source} lists it; not below {home}")
    leak = STRADDLES_IDENTITY if dataset in _ONE_PERSON else STRADDLES_SOURCE
    return Row(
        dataset=dataset,
        item_id=one.item_id,
        relpath=folder,
        media_type="frame_seq",
        label=label,
        label_native=one.native,
        group_id=one.group,
        method=method,
        compression=one.compression,
        split=one.split,
        split_source=one.source,
        mask_relpath=(_folder(home, _parts(one.clip.masks[0])[:-1]) or "") if one.clip.masks else "",
        flags=(leak,) if one.group in torn else (),
        extra={"frames": str(len(one.clip.frames))},
    )


def _frames(one: _Listed, home: Path, folder: str) -> Iterator[Problem]:
    """What the JSON lists and the folder lacks; and, in one problem, what the folder has beyond it."""
    listed = {_parts(frame)[-1] for frame in one.clip.frames}
    there = {name for name in os.listdir(home / folder) if name.lower().endswith(PICTURES)}  # noqa: PTH208
    for name in sorted(listed - there):
        yield Problem(f"{folder}/{name}", "missing", f"{one.source} lists it")
    if more := len(there - listed):
        yield Problem(folder, "inconsistent", f"{more} frames that {one.source} does not list, and the row holds")


def _parts(path: str) -> tuple[str, ...]:
    """A path of whatever machine, without drive and root."""
    pure = PurePosixPath(re.sub(r"^[A-Za-z]:", "", path.replace("\\", "/")).lstrip("/"))
    return pure.parts if pure.parts else ("",)


def _folder(home: Path, parts: tuple[str, ...]) -> str | None:
    """The longest end of the path that is a folder below `home`; the last name alone is too little to tell by."""
    if ".." in parts or any("\0" in part for part in parts):
        return None
    ends = ("/".join(parts[n:]) for n in range(max(1, len(parts) - 1)))
    return next((end for end in ends if end and (home / end).is_dir()), None)
