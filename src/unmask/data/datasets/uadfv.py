"""UADFV: 49 real videos and a FakeApp forgery of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import files, strangers
from unmask.data.manifest import Row

CARD = DataCard(
    title="UADFV",
    paper="Yang, Li and Lyu, ICASSP 2019, arXiv 1811.00661; Li, Chang and Lyu, WIFS 2018, arXiv 1806.02877",
    access="a Google form of the University at Albany",
    terms="research; no redistribution",
    layout="third-party loader",
    counts={"real": 49, "fake": 49},
    splits="none: all of it is test",
    unverified=("folder and file names", "made by FakeApp, with one celebrity's face (from memory)"),
    traps=("so small that one video is a percent; nearly all forgeries wear the same face",),
)
_NAMES = {"real": re.compile(r"(\d{4})"), "fake": re.compile(r"(\d{4})_fake")}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Videos of real/ and fake/; a number that has only one of the two is reported."""
    yield from strangers(root, _NAMES)
    seen: dict[str, set[str]] = {side: set() for side in _NAMES}
    for side, name in _NAMES.items():
        for one in files(root, side, (".mp4",)):
            if isinstance(one, Problem):
                yield one
            elif (match := name.fullmatch(one.stem)) is None or one.folder != side:
                yield Problem(one.path, "unknown", "not the name of a video of this folder")
            else:
                seen[side].add(match[1])
                yield Row(
                    dataset="uadfv",
                    item_id=f"uadfv/{side}/{one.stem}",
                    relpath=one.path,
                    media_type="video",
                    label=1 if side == "fake" else 0,
                    label_native=side,
                    group_id=f"uadfv/{match[1]}",
                    method="FakeApp" if side == "fake" else "",
                    family="FS" if side == "fake" else "",
                    pair_key=f"uadfv/real/{match[1]}",
                    split="test",
                    split_source="derived:test only",
                    bytes=one.bytes,
                )
    for number in sorted(seen["fake"] - seen["real"]):
        yield Problem(f"real/{number}.mp4", "missing", "its forgery is there")
    for number in sorted(seen["real"] - seen["fake"]):
        yield Problem(f"fake/{number}_fake.mp4", "missing", "its original is there")
