"""FaceForensics++ with FaceShifter: 1000 YouTube videos, forged by five methods, in three compressions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets import _ffpp
from unmask.data.datasets._files import STRADDLES_SOURCE, Medium, files, folder_names, sequences, strangers
from unmask.data.manifest import Family, Row

CARD = DataCard(
    title="FaceForensics++",
    paper="Rössler et al., ICCV 2019, arXiv 1901.08971; FaceShifter: Li et al., CVPR 2020, arXiv 1912.13457",
    access="a Google form, then a personal download script; github.com/ondyari/FaceForensics",
    terms="FaceForensics terms: research and education, no redistribution; split files MIT",
    layout="distributor",
    counts={
        "real": 1000,
        "fake": 5000,
        "Deepfakes": 1000,
        "Face2Face": 1000,
        "FaceSwap": 1000,
        "NeuralTextures": 1000,
        "FaceShifter": 1000,
    },
    splits="official, 360/70/70 pairs, shipped with the package (train.json, val.json, test.json)",
    unverified=("frames in <compression>/images and <compression>/frames are read as extraction scripts name them",),
    traps=(
        "counts are of one compression: a copy with c23 and c40 has twice as many",
        "1000 videos come from 977 YouTube videos; 7 videos straddle the official split, those groups are flagged",
        "four or five forgeries stand against one real clip: balance the classes",
        "'FF++' of a paper may or may not include FaceShifter",
        "the Deepfakes mask is the rectangle that was blended, NeuralTextures' the tracked region",
    ),
)
FAMILY: dict[str, Family] = {
    "Deepfakes": "FS",
    "Face2Face": "FR",
    "FaceSwap": "FS",
    "NeuralTextures": "FR",
    "FaceShifter": "FS",
}
COMPRESSIONS = ("raw", "c23", "c40")
_BY = "splits/{train,val,test}.json"


def rows(root: Path) -> Iterator[Row | Problem]:
    """Videos, or folders of frames where a stem has no video, of every method and compression that is there."""
    yield from strangers(
        root, ("original_sequences", "manipulated_sequences", "downloaded_videos", "downloaded_videos_info", "splits")
    )
    yield from strangers(root, ("youtube", "actors"), "original_sequences")
    yield from strangers(root, (*FAMILY, "DeepFakeDetection"), "manipulated_sequences")
    yield from _method(root, "original_sequences/youtube", "")
    for method in FAMILY:
        yield from _method(root, f"manipulated_sequences/{method}", method)


def _method(root: Path, home: str, method: str) -> Iterator[Row | Problem]:
    yield from strangers(root, (*COMPRESSIONS, "masks", "models"), home)
    masks = {
        Path(n).stem: f"{home}/masks/videos/{n}" for n in folder_names(root, f"{home}/masks/videos", everything=True)
    }
    expected = {f"{a}_{b}" for a, b in _ffpp.partners().items()} if method else set(_ffpp.splits())
    for compression in folder_names(root, home):
        if compression not in COMPRESSIONS:
            continue
        seen: set[str] = set()
        for one in media(root, f"{home}/{compression}"):
            if isinstance(one, Problem):
                seen.update([Path(one.relpath).stem] if one.what == "empty" else [])
                yield one
            elif one.stem not in expected:
                yield Problem(one.path, "unknown", "not the name of an official video or pair")
            else:
                seen.add(one.stem)
                yield _row(one, method, compression, masks.get(one.stem, ""))
        for stem in sorted(expected - seen):
            yield Problem(f"{home}/{compression}/videos/{stem}.mp4", "missing", "the official split lists it")


def media(root: Path, home: str) -> Iterator[Medium | Problem]:
    """The videos of `home`/videos, then from images or frames the sequences that have no video; no stem twice."""
    yield from strangers(root, ("videos", "images", "frames", "landmarks", "masks"), home)
    seen: set[str] = set()
    for found in (files(root, f"{home}/videos"), sequences(root, f"{home}/images"), sequences(root, f"{home}/frames")):
        for one in found:
            if isinstance(one, Problem):
                yield one
            elif one.stem not in seen:
                seen.add(one.stem)
                yield one
            elif one.frames is None:
                yield Problem(one.path, "inconsistent", "a second video of this name")


def _row(one: Medium, method: str, compression: str, mask: str) -> Row:
    target, _, source = one.stem.partition("_")
    group = _ffpp.groups()[target]
    return Row(
        dataset="faceforensics",
        item_id=_ffpp.item_id(method or "original", compression, one.stem),
        relpath=one.path,
        media_type="video" if one.frames is None else "frame_seq",
        label=1 if method else 0,
        label_native="manipulated" if method else "original",
        group_id=group,
        method=method,
        family=FAMILY[method] if method else "",
        compression=compression,
        target_id=target,
        source_id=source,
        pair_key=_ffpp.item_id("original", compression, target),
        split=_ffpp.splits()[target],
        split_source=_BY,
        mask_relpath=mask,
        bytes=one.bytes,
        flags=(STRADDLES_SOURCE,) if group in _ffpp.straddling() else (),
    )
