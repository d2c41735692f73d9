"""FakeAVCeleb v1.2: images and sound of VoxCeleb2 videos, each real or forged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, crossing, files, folder_names, read_table, strangers
from unmask.data.manifest import Family, Row, derived_split

CARD = DataCard(
    title="FakeAVCeleb v1.2",
    paper="Khalid et al., NeurIPS 2021 D&B, arXiv 2108.05080",
    access="a form; github.com/DASH-Lab/FakeAVCeleb",
    terms="research only; built on VoxCeleb2, no redistribution",
    layout="distributor",
    counts={"real": 500, "fake": 500 + 9_709 + 10_835},
    splits="none: derived by the source's identity; forgeries that use a person of another split are flagged",
    unverified=("targets are read as people where they are written id<number>",),
    traps=(
        "label 1 = images or sound forged; audio_label is the sound alone, extra['video_label'] the images",
        "meta_data.csv has 22 double rows, and its path needs the unnamed last column",
    ),
)
TYPES = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")
_ID = re.compile(r"id\d+")
_Meta = dict[str, dict[str, str]]


def rows(root: Path) -> Iterator[Row | Problem]:
    """Videos <type>/<race>/<gender>/<id>/<video>.mp4, at the root or in FakeAVCeleb_v1.2/.

    Raises: UnmaskError for a damaged meta_data.csv.
    """
    base = next((b for b in ("FakeAVCeleb_v1.2", "FakeAVCeleb") if b in folder_names(root)), "")
    yield from strangers(root, (*TYPES, "meta_data.csv", "README.md"), base)
    table = root / base / "meta_data.csv"
    meta = _meta(table) if table.is_file() else {}
    if not meta:
        yield Problem(f"{base}/meta_data.csv".lstrip("/"), "missing", "without it no row has a method")
    seen: set[str] = set()
    for kind in TYPES:
        for one in files(root, f"{base}/{kind}".lstrip("/"), (".mp4",)):
            path = one.relpath if isinstance(one, Problem) else one.path
            key = path.removeprefix(f"{base}/")
            seen.add(key)
            if isinstance(one, Problem):
                yield one
            elif key.count("/") != 4:
                yield Problem(path, "unknown", "not <type>/<race>/<gender>/<id>/<video>.mp4")
            elif meta and key not in meta:
                yield Problem(path, "inconsistent", "meta_data.csv does not list it")
            else:
                yield _row(one, key, meta.get(key, {}))
    yield from (Problem(key, "missing", "meta_data.csv lists it") for key in sorted(set(meta) - seen))


def _meta(table: Path) -> _Meta:
    """<type>/<race>/<gender>/<id>/<video>.mp4 -> its line; what is listed twice is taken once."""
    found: _Meta = {}
    for line in read_table(table, ("source", "target1", "target2", "method", "type", "race", "gender", "path")):
        parts = (*PurePosixPath(line.get("") or "").parts, *PurePosixPath(line["path"]).parts)
        found.setdefault("/".join(parts[-5:]), line)
    return found


def _row(one: Medium, key: str, line: dict[str, str]) -> Row:
    kind, race, gender, who, _ = key.split("/")
    video, audio = kind.startswith("FakeVideo"), kind.endswith("FakeAudio")
    source, method = line.get("source") or who, line.get("method", "")
    targets = [t for t in (line.get("target1", ""), line.get("target2", "")) if _ID.fullmatch(t) and t != source]
    family: Family = ("FS" if "fsgan" in method or "faceswap" in method else "FR") if video and method else ""
    item = f"fakeavceleb/{key.removesuffix('.mp4')}"
    return Row(
        dataset="fakeavceleb",
        item_id=item,
        relpath=one.path,
        media_type="audio_video",
        label=1 if video or audio else 0,
        label_native=kind,
        group_id=f"fakeavceleb/{source}",
        task="av",
        method=method if video or audio else "",
        family=family if video else "VC" if audio else "",
        identity=source,
        source_id=source,
        target_id=targets[0] if targets else "",
        pair_key="" if video or audio else item,
        split=derived_split(f"fakeavceleb/{source}"),
        split_source="derived",
        demographics={"race": race, "gender": gender},
        audio_label=1 if audio else 0,
        bytes=one.bytes,
        flags=crossing(f"fakeavceleb/{source}", [f"fakeavceleb/{t}" for t in targets]),
        extra={"video_label": "1" if video else "0"},
    )
