"""VIPBench: is this image that person? Photos of 22 people, of others who resemble them, and forgeries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets._files import Medium, files, folder_names
from unmask.data.manifest import Family, Row

CARD = DataCard(
    title="VIPBench (VIP-Eval)",
    paper="VIPGuard, NeurIPS 2025, arXiv 2505.19582",
    access="Hugging Face Kaiqing/VIPBench, gated; one person as an example in github.com/KQL11/VIPGuard",
    terms="CC BY-NC-SA 4.0; identifying people is forbidden",
    layout="distributor",
    splits="none: all of it is test",
    unverified=(
        "the layout is that of the authors' example of one person; the gated set's own was not seen",
        "22 people, about 80,000 images, seven ways to swap and seven to synthesise, which names do not tell",
    ),
    traps=(
        "r_r_d_i is a real photo of somebody else, which the authors' loader calls 1; see extra['is_vip']",
        "every image of one person's folder is one leakage group",
    ),
)
# category -> (label, is it the person, method, family)
CATEGORIES: dict[str, tuple[Literal[0, 1], str, str, Family]] = {
    "r_r_i": (0, "1", "", ""),
    "r_r_d_i": (0, "0", "", ""),
    "r_fs_i": (1, "0", "face-swap", "FS"),
    "r_efs_i": (1, "0", "entire-synthesis", "EFS"),
}
_SAMPLE = re.compile(r"(?P<vip>id\d+)_(?P<number>\d+)(?:_(?P<region>\w+))?")


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images <part>/<person>/<category>/<sample>/<file>, at the root or in FaceDATA/ or Example/."""
    home = next((h for h in ("FaceDATA", "Example") if h in folder_names(root)), "")
    for one in files(root, home, PICTURES, beside=(".json", ".ckpt")):
        yield one if isinstance(one, Problem) else _row(one, home)


def _row(one: Medium, home: str) -> Row | Problem:
    parts = one.path.removeprefix(f"{home}/").split("/")
    match = _SAMPLE.fullmatch(parts[3]) if len(parts) == 5 else None
    if match is None or parts[2] not in CATEGORIES:
        return Problem(one.path, "unknown", f"not <part>/<person>/<{', '.join(CATEGORIES)}>/<person>_<n>/<file>")
    part, vip, category, sample, _ = parts
    label, is_vip, method, family = CATEGORIES[category]
    if match["vip"] != vip:
        return Problem(one.path, "inconsistent", f"a sample of {match['vip']} in the folder of {vip}")
    if (one.stem == "fake") != bool(label):
        return Problem(one.path, "inconsistent", f"forgeries are named fake.png, and this is {category}")
    return Row(
        dataset="vipbench",
        item_id=f"vipbench/{part}/{vip}/{category}/{sample}/{one.stem}",
        relpath=one.path,
        label=label,
        label_native=category,
        group_id=f"vipbench/{vip}",
        method=method,
        family=family,
        identity=vip if is_vip == "1" else "",
        source_id=vip if label else "",
        split="test",
        split_source="derived:test only",
        bytes=one.bytes,
        extra={"is_vip": is_vip, "vip": vip, "part": part} | ({"region": match["region"]} if match["region"] else {}),
    )
