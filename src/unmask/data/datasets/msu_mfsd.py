"""MSU-MFSD: 35 people before a laptop and a phone; a printed photo, and videos on an iPad and an iPhone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, files, read_lines, strangers, train_or_val
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="MSU Mobile Face Spoofing Database (MSU-MFSD)",
    paper="Wen, Han and Jain, TIFS 2015",
    access="an agreement; Michigan State University",
    terms="research only; no redistribution",
    layout="third-party loader",
    counts={"real": 70, "fake": 210},
    splits="official, by person (train_sub_list.txt, test_sub_list.txt); validation derived from the train people",
    traps=(
        "the lists write client numbers with two digits, the names with three",
        "the laptop's videos are .mov, the phone's .mp4: the suffix tells the camera",
        "six videos are said to lie on their side, and their .face boxes to be wrong",
    ),
    unverified=("the three kinds of attack as the names write them are from third parties",),
)
_LISTS: dict[str, Split] = {"train_sub_list.txt": "train", "test_sub_list.txt": "test"}
_NAMES = {
    "real": re.compile(r"real_client(?P<client>\d{3})_(?P<camera>android|laptop)_(?P<quality>SD|HD)_scene\d{2}"),
    "attack": re.compile(
        r"attack_client(?P<client>\d{3})_(?P<camera>android|laptop)_(?P<quality>SD|HD)"
        r"_(?P<kind>ipad_video|iphone_video|printed_photo)_scene\d{2}"
    ),
}


def rows(root: Path) -> Iterator[Row | Problem]:
    """The videos of scene01/{real,attack}. Raises: UnmaskError for lists that no person can be read from."""
    yield from strangers(root, ("scene01", *_LISTS, "README", "README.txt", "readme.txt", "pics"))
    yield from strangers(root, _NAMES, "scene01")
    splits = _splits(root)
    for name in sorted(set(_LISTS) - {p.name for p in root.glob("*_sub_list.txt")}):
        yield Problem(name, "missing", "without it its people have no split")
    seen: set[str] = set()
    for folder, pattern in _NAMES.items():
        for one in files(root, f"scene01/{folder}", (".mp4", ".mov"), beside=(".face",)):
            if isinstance(one, Problem):
                yield one
            elif (match := pattern.fullmatch(one.stem)) is None:
                yield Problem(one.path, "unknown", f"not the name of a video of {folder}/")
            elif one.stem in seen:
                yield Problem(one.path, "inconsistent", "a second video of this name")
            else:
                seen.add(one.stem)
                if splits and match["client"] not in splits:
                    yield Problem(one.path, "inconsistent", "neither list names its client")
                yield _row(one, match.groupdict(), splits.get(match["client"]))


def _splits(root: Path) -> dict[str, Split]:
    """Client, with three digits -> split."""
    found: dict[str, Split] = {}
    for name, split in _LISTS.items():
        path = root / name
        for number, line in read_lines(path) if path.is_file() else ():
            for client in line.split():
                if not client.isdigit() or found.setdefault(f"{int(client):03d}", split) != split:
                    raise ManifestError(
                        f"{path}, line {number}: {client!r} is no client, or of both lists; fetch them again"
                    )
    return found


def _row(one: Medium, named: dict[str, str], official: Split | None) -> Row:
    client, kind = named["client"], named.get("kind", "")
    group = f"msu_mfsd/{client}"
    split, by = official, f"{official}_sub_list.txt" if official else ""
    if official == "train":
        split, by = train_or_val(group, by)
    return Row(
        dataset="msu_mfsd",
        item_id=f"msu_mfsd/{kind or 'real'}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if kind else 0,
        label_native="attack" if kind else "real",
        group_id=group,
        task="pad",
        method=kind,
        family="PAD" if kind else "",
        identity=client,
        pair_key=f"msu_mfsd/real/real_client{client}_{named['camera']}_{named['quality']}_scene01",
        split=split,
        split_source=by,
        bytes=one.bytes,
        extra={"camera": named["camera"]},
    )
