"""GenImage: ImageNet's images, and as many of its classes made by eight generators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets._files import Medium, files, train_or_val
from unmask.data.manifest import Row

CARD = DataCard(
    title="GenImage",
    paper="Zhu et al., NeurIPS 2023 D&B, arXiv 2306.08571",
    access="Google Drive and Baidu; github.com/GenImage-Dataset/GenImage",
    terms="non-commercial research; ImageNet's own terms for its images",
    layout="third-party loader",
    splits="by folder: train, and val, which papers test on and which is test here; validation derived from train",
    unverified=(
        "folders of generators are told by what their names contain (imagenet_ai_0419_biggan, Midjourney, ...)",
        "about 1.33 million real and 1.35 million made images (from memory)",
    ),
    traps=(
        "ai images are PNG of few sizes, nature JPEG of many: file type and size alone tell them apart",
        "an ImageNet image in the folders of two generators is one leakage group",
        "copies packed again as 0_real and 1_fake are read by the folder layout",
    ),
)
_LABELS = {"ai": "ai", "nature": ""}
GENERATORS = {
    "Midjourney": r"midjourney",
    "SD v1.4": r"sdv4|stable_diffusion_v_1_4|sd_?v?1[._]4",
    "SD v1.5": r"sdv5|stable_diffusion_v_1_5|sd_?v?1[._]5",
    "ADM": r"(?:^|_)adm$",
    "GLIDE": r"glide",
    "Wukong": r"wukong",
    "VQDM": r"vqdm",
    "BigGAN": r"biggan",
}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images of <folders that name a generator>/{train,val}/{ai,nature}/; the root may be one generator's folder."""
    for one in files(root, suffixes=PICTURES):
        yield one if isinstance(one, Problem) else _row(one, root.resolve().name)


def generator(names: tuple[str, ...]) -> str:
    """The one generator that folders are named after; empty for none and for several."""
    found = {g for g, like in GENERATORS.items() for name in names if re.search(like, name.lower())}
    return found.pop() if len(found) == 1 else ""


def _row(one: Medium, home: str) -> Row | Problem:
    folders = one.parts[:-1]
    at = next((i for i, name in enumerate(folders[:-1]) if name in ("train", "val")), -1)
    if at < 0 or folders[at + 1] not in _LABELS:
        return Problem(one.path, "unknown", "not below <generator>/{train,val}/{ai,nature}/")
    # only where the root is one generator's own folder does its name count: "biggan-and-others" may hold all eight
    made = generator(folders[:at]) or (generator((home,)) if at == 0 else "")
    if not made:
        return Problem(one.path, "unknown", f"its folders name none or several of {', '.join(GENERATORS)}")
    ai, side = folders[at + 1] == "ai", folders[at]
    item = f"genimage/{made}/{'/'.join(one.parts[at:])}"
    group = item if ai else f"genimage/imagenet/{one.stem}"
    split, by = train_or_val(group, "folder") if side == "train" else ("test", "folder val")
    return Row(
        dataset="genimage",
        item_id=item,
        relpath=one.path,
        label=1 if ai else 0,
        label_native=folders[at + 1],
        group_id=group,
        task="synthetic",
        method=made if ai else "",
        family="EFS" if ai else "",
        split=split,
        split_source=by,
        bytes=one.bytes,
        extra={"set": made},
    )
