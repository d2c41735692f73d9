"""DF40: forty methods on the videos of FaceForensics++ and Celeb-DF, as folders of frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import PICTURES, DataCard, Problem, walk
from unmask.data.datasets import _celeb_df, _ffpp
from unmask.data.datasets._files import STRADDLES_IDENTITY, STRADDLES_SOURCE, Medium, folder_names, sequences
from unmask.data.manifest import Family, Row, Split

CARD = DataCard(
    title="DF40",
    paper="Yan et al., NeurIPS 2024 D&B, arXiv 2406.13495",
    access="a form for the links; github.com/YZY-stack/DF40",
    terms="forgeries CC BY-NC 4.0; originals under the terms of FaceForensics++ and Celeb-DF",
    layout="distributor",
    splits="official, by folder: DF40_train and DF40 (test); its lists give the test set as validation too, so none",
    unverified=("folder levels differ between releases; names are taken from disk, the published lists are not read",),
    traps=(
        "most methods have no originals of their own: join with FaceForensics++ and Celeb-DF (pair_key)",
        "below cdf/ a folder Celeb-real or YouTube-real names whose face was forged; the images are forged",
        "published folders are incomplete: empty ones are reported",
        "the published validation set is the test set",
    ),
)
_METHODS: dict[Family, str] = {
    "FS": "fsgan faceswap simswap inswap blendface uniface mobileswap e4s facedancer deepfacelab",
    "FR": "fomm facevid2vid wav2lip mraa one_shot_free pirender tpsm lia danet sadtalker mcnet hyperreenact heygen",
    "EFS": "vqgan stylegan2 stylegan3 styleganxl sd2.1 ddim rddm pixart dit sit midjourney whichfaceisreal whichisreal",
    "FE": "collabdiff e4e stargan starganv2 styleclip",
}
FAMILY: dict[str, Family] = {name: family for family, names in _METHODS.items() for name in names.split()}
_FF, _CDF = re.compile(r"(\d{3})(?:_\d{3})?"), re.compile(r"(?:(id\d+)_(?:id\d+_)?(\d{4})|(\d{5}))(?:_.*)?")
_HOMES = ("", "deepfake_detection_datasets/", "deepfakes_detection_datasets/")
_LEVELS = ("ff", "cdf", "fake", "real", "frames", "Celeb-real", "YouTube-real", "Celeb-synthesis")


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every folder of frames, and the single images of methods that have no clips."""
    splits: tuple[tuple[str, Split], ...] = (("DF40", "test"), ("DF40_train", "train"))
    for home in _HOMES:
        for tree, split in splits:
            for method in folder_names(root, home + tree):
                folder = f"{home}{tree}/{method}"
                if method.lower() not in FAMILY:
                    yield Problem(folder, "unknown", "not a method of DF40")
                    continue
                for one in sequences(root, folder):
                    if isinstance(one, Problem):
                        yield one
                    else:
                        yield from (_row(single, folder, method, split) for single in _items(root, one, folder))


def _items(root: Path, found: Medium, folder: str) -> Iterator[Medium]:
    """The folder of frames; or its images one by one, where the folder is not a video's but a whole level's."""
    rest = found.path.removeprefix(folder).strip("/").split("/")
    if rest[-1] not in ("", *_LEVELS):
        yield found
        return
    for path, size in walk(root, found.path):
        if size and path.rpartition("/")[0] == found.path and path.lower().endswith(PICTURES):
            yield Medium(path, size)


def _row(one: Medium, folder: str, method: str, split: Split) -> Row:
    rest = one.path.removeprefix(f"{folder}/").split("/")
    domain = rest[0] if rest[0] in ("ff", "cdf", "fake", "real") else ""
    fake = domain != "real"
    group, pair, flags = _origin(one.stem, domain, split)
    family = FAMILY[method.lower()]
    return Row(
        dataset="df40",
        item_id=f"df40/{method}/{split}/{'/'.join(rest)}",
        relpath=one.path,
        media_type="image" if one.frames is None else "frame_seq",
        label=1 if fake else 0,
        label_native=domain,
        group_id=group or f"df40/{method}/{split}/{domain}/{one.stem}",
        task="synthetic" if family == "EFS" else "deepfake",
        method=method if fake else "",
        family=family if fake else "",
        pair_key=pair,
        split=split,
        split_source="folder",
        bytes=one.bytes,
        flags=flags,
        extra={"domain": domain},
    )


def _origin(stem: str, domain: str, split: Split) -> tuple[str, str, tuple[str, ...]]:
    """(leakage group, original, flags) of a stem of FaceForensics++ or Celeb-DF; empty where it is of neither."""
    if domain in ("ff", "") and (match := _FF.fullmatch(stem)):
        group = _ffpp.groups()[match[1]]
        torn = group in _ffpp.straddling() or (_ffpp.splits()[match[1]] == "train") != (split == "train")
        return group, _ffpp.item_id("original", "c23", match[1]), (STRADDLES_SOURCE,) if torn else ()
    if domain == "cdf" and (match := _CDF.fullmatch(stem)):
        who, rec, clip = match.groups()
        original = f"Celeb-real/{who}_{rec}" if who else f"YouTube-real/{clip}"
        # The test folders hold the same people, whatever videos were put into the training folders.
        torn = split == "train"
        return _celeb_df.group(who or clip), f"celeb_df_v2/{original}", (STRADDLES_IDENTITY,) if torn else ()
    return "", "", ()
