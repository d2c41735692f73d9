"""Idiap Replay-Attack: 50 people before a webcam; prints, a phone and a tablet, held or fixed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, files, folder_names, in_two_splits, strangers
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="Idiap Replay-Attack",
    paper="Chingovska, Anjos and Marcel, BIOSIG 2012",
    access="Idiap, after agreeing to the licence; archives replayattack-{train,devel,test}",
    terms="Idiap's licence, research only; no redistribution",
    layout="third-party loader",
    counts={"real": 200, "fake": 1000},
    splits="official, by folder: 15, 15 and 20 people",
    unverified=("1,300 videos are named with the 100 of enroll/, which are not indexed (from memory)",),
    traps=("enroll/ holds real videos for recognising faces, not for this task",),
)
_SIDES: dict[str, Split] = {"train": "train", "devel": "val", "test": "test"}
_REAL = re.compile(r"client(?P<client>\d{3})_session\d{2}_webcam_authenticate_(?P<light>adverse|controlled)_\d+")
_ATTACK = re.compile(
    r"attack_(?P<device>highdef|mobile|print)_client(?P<client>\d{3})_session\d{2}_\w+?"
    r"_(?P<kind>photo|video)_(?P<light>adverse|controlled)"
)
_KNOWN = ("enroll", "protocols", "face-locations", "README", "README.rst", "faces")


def rows(root: Path) -> Iterator[Row | Problem]:
    """The videos of <split>/real and <split>/attack/{fixed,hand}, at the root or in replayattack-<split>/."""
    packed = [f"replayattack-{name}" for name in (*_SIDES, "enroll", "face-locations")]
    yield from strangers(root, (*_SIDES, *_KNOWN, *packed))
    found: list[Row] = []
    for side in _SIDES:
        bases = [base for base in ("", f"replayattack-{side}/") if side in folder_names(root, base.rstrip("/"))]
        yield from (Problem(base + side, "inconsistent", "the split is there twice") for base in bases[1:])
        for base in bases[:1]:
            for one in files(root, base + side, (".mov",), beside=(".face",)):
                placed = one if isinstance(one, Problem) else _row(one, base, side)
                if isinstance(placed, Row):
                    found.append(placed)
                else:
                    yield placed
    torn = in_two_splits((r.identity, r.split) for r in found)
    for row in found:
        twice = Problem(row.relpath, "inconsistent", f"client {row.identity} stands in two splits")
        yield twice if row.identity in torn else row


def _row(one: Medium, base: str, side: str) -> Row | Problem:
    folder = one.folder.removeprefix(base + side).strip("/")
    match = (_REAL if folder == "real" else _ATTACK).fullmatch(one.stem)
    if match is None or folder not in ("real", "attack/fixed", "attack/hand"):
        return Problem(one.path, "unknown", "not the name of a video of real/, attack/fixed/ or attack/hand/")
    named = match.groupdict()
    method = "" if folder == "real" else "print" if named["device"] == "print" else f"{named['device']}_{named['kind']}"
    support = {"support": folder.partition("/")[2]} if method else {}
    return Row(
        dataset="replay_attack",
        item_id=f"replay_attack/{folder}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if method else 0,
        label_native=folder,
        group_id=f"replay_attack/{named['client']}",
        task="pad",
        method=method,
        family="PAD" if method else "",
        identity=named["client"],
        split=_SIDES[side],
        split_source="folder",
        bytes=one.bytes,
        extra={"light": named["light"]} | support,
    )
