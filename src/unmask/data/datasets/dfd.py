"""DFD, Google's and Jigsaw's DeepFakeDetection: paid actors in 16 scenes, distributed within FaceForensics++."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, folder_names, strangers
from unmask.data.datasets.faceforensics import COMPRESSIONS, media
from unmask.data.manifest import Row

CARD = DataCard(
    title="DeepFakeDetection (DFD)",
    paper="Dufour and Gully, Google AI blog, 2019",
    access="the FaceForensics++ form and script (-d DeepFakeDetection, -d DeepFakeDetection_original)",
    terms="FaceForensics terms; consented actors, no redistribution",
    layout="distributor",
    counts={"real": 363, "fake": 3068},
    splits="none: all of it is test, since nearly every forgery wears a second actor's face",
    traps=(
        "counts are of one compression",
        "two people may talk and only one face is forged: take the one that the mask overlaps",
        "a group is the target actor; a forgery also shows the source actor's face, so any other split leaks",
        "the original of a forgery is target__scene; an actor's scene may have been filmed more than once",
    ),
)
_REAL = re.compile(r"(?P<target>\d{2})__(?P<scene>.+)")
_FAKE = re.compile(r"(?P<target>\d{2})_(?P<source>\d{2})__(?P<scene>.+)__(?P<exp>[A-Z0-9]{8})")


def rows(root: Path) -> Iterator[Row | Problem]:
    """The actors' videos and their forgeries; what else a FaceForensics++ tree holds is the other layout's."""
    for home, name, method in (
        ("original_sequences/actors", _REAL, ""),
        ("manipulated_sequences/DeepFakeDetection", _FAKE, "DeepFakeDetection"),
    ):
        yield from strangers(root, (*COMPRESSIONS, "masks", "models"), home)
        masks = {
            Path(n).stem: f"{home}/masks/videos/{n}"
            for n in folder_names(root, f"{home}/masks/videos", everything=True)
        }
        for compression in folder_names(root, home):
            if compression not in COMPRESSIONS:
                continue
            for one in media(root, f"{home}/{compression}"):
                if isinstance(one, Problem):
                    yield one
                elif match := name.fullmatch(one.stem):
                    yield _row(one, match.groupdict(), method, compression, masks.get(one.stem, ""))
                else:
                    yield Problem(one.path, "unknown", "not the name of an actor's video or forgery")


def _row(one: Medium, named: dict[str, str], method: str, compression: str, mask: str) -> Row:
    target, scene = named["target"], named["scene"]
    return Row(
        dataset="dfd",
        item_id=f"dfd/{method or 'original'}/{compression}/{one.stem}",
        relpath=one.path,
        media_type="video" if one.frames is None else "frame_seq",
        label=1 if method else 0,
        label_native="manipulated" if method else "original",
        group_id=f"dfd/actor/{target}",
        method=method,
        family="FS" if method else "",
        compression=compression,
        identity=target,
        target_id=target,
        source_id=named.get("source", ""),
        pair_key=f"dfd/original/{compression}/{target}__{scene}",
        split="test",
        split_source="derived:test only",
        mask_relpath=mask,
        bytes=one.bytes,
        extra={"scene": scene},
    )
