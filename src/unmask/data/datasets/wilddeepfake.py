"""WildDeepfake: sequences of aligned faces from videos of the internet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import folder_names, sequences, strangers, train_or_val
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="WildDeepfake",
    paper="Zi et al., ACM MM 2020, arXiv 2101.01456",
    access="a form; Hugging Face xingjunm/WildDeepfake",
    terms="research only; no redistribution",
    layout="distributor",
    counts={"real": 3805, "fake": 3509},
    splits="official, by folder; validation derived from the train shards",
    unverified=("the levels inside an unpacked shard are from a third party and may be more or fewer",),
    traps=(
        "unpack the <N>.tar.gz first, each into a folder <N>",
        "a row is a sequence; say whether a figure is of images or of sequences",
        "nobody published which sequences come from one clip: a group is a shard, at best",
        "faces are cropped already, without margin",
    ),
)
_SIDES: dict[str, tuple[Literal["real", "fake"], Split]] = {
    "real_train": ("real", "train"),
    "real_test": ("real", "test"),
    "fake_train": ("fake", "train"),
    "fake_test": ("fake", "test"),
}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every folder of images below {real,fake}_{train,test} (or with a space), at the root or one folder down."""
    nested = folder_names(root, "deepfake_in_the_wild")
    base = "deepfake_in_the_wild/" if nested else ""
    yield from strangers(
        root, ("deepfake_in_the_wild",) if nested else (*_SIDES, *(s.replace("_", " ") for s in _SIDES))
    )
    for folder in nested or folder_names(root):
        if (side := folder.replace(" ", "_")) not in _SIDES:
            continue
        label, official = _SIDES[side]
        for one in sequences(root, base + folder):
            if isinstance(one, Problem):
                packed = one.relpath.endswith(".tar.gz")
                yield Problem(one.relpath, "unknown", "an archive: unpack it into a folder <N>") if packed else one
                continue
            rest = one.path.removeprefix(base + folder).strip("/").split("/")
            if len(rest) < 2 or ({"real", "fake"} - {label}) & set(rest[1:-1]):
                why = "images outside a sequence" if len(rest) < 2 else f"a folder below {folder} says otherwise"
                yield Problem(one.path, "inconsistent", why)
                continue
            group = f"wilddeepfake/{side}/{rest[0]}"
            split, by = train_or_val(group, "folder") if official == "train" else (official, "folder")
            yield Row(
                dataset="wilddeepfake",
                item_id=f"wilddeepfake/{side}/{'/'.join(rest)}",
                relpath=one.path,
                media_type="frame_seq",
                label=1 if label == "fake" else 0,
                label_native=folder,
                group_id=group,
                split=split,
                split_source=by,
                bytes=one.bytes,
                extra={"frames": str(one.frames)},
            )
