"""CASIA-FASD: 50 people at three qualities; warped photos, photos with cut eyes, and videos held before a camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, files, strangers, train_or_val
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="CASIA Face Anti-Spoofing Database (CASIA-FASD)",
    paper="Zhang et al., ICB 2012",
    access="an agreement; CASIA",
    terms="research and education; no redistribution",
    layout="third-party loader",
    counts={"real": 150, "fake": 450},
    splits="official, by folder: 20 and 30 people; validation derived from the train people",
    unverified=(
        "which number is which attack and quality (3, 4 warped; 5, 6 cut; 7, 8 video; HR high) is from memory",
    ),
    traps=(
        "people are numbered from 1 in both folders: person 1 of train is another than person 1 of test",
        "names carry no label: 1, 2 and HR_1 are real, the rest attacks",
    ),
)
_SIDES: dict[str, Split] = {"train_release": "train", "test_release": "test"}
# name -> (method, quality)
NAMES = {
    **{str(2 * i + 1): (method, "low") for i, method in enumerate(("", "warped_photo", "cut_photo", "video"))},
    **{str(2 * i + 2): (method, "normal") for i, method in enumerate(("", "warped_photo", "cut_photo", "video"))},
    **{f"HR_{i + 1}": (method, "high") for i, method in enumerate(("", "warped_photo", "cut_photo", "video"))},
}


def rows(root: Path) -> Iterator[Row | Problem]:
    """The videos <train_release|test_release>/<person>/<1..8, HR_1..HR_4>.avi."""
    yield from strangers(root, _SIDES)
    for side, split in _SIDES.items():
        seen: dict[str, set[str]] = {}
        for one in files(root, side, (".avi",)):
            if isinstance(one, Problem):
                yield one
            elif len(one.parts) != 3 or not one.parts[1].isdigit() or one.stem not in NAMES:
                yield Problem(one.path, "unknown", "not <person>/<1..8 or HR_1..HR_4>.avi")
            else:
                seen.setdefault(one.parts[1], set()).add(one.stem)
                yield _row(one, split)
        for person, there in sorted(seen.items()):
            for name in sorted(set(NAMES) - there):
                yield Problem(f"{side}/{person}/{name}.avi", "missing", "every person has twelve videos")


def _row(one: Medium, official: Split) -> Row:
    person = one.parts[1]
    method, quality = NAMES[one.stem]
    group = f"casia_fasd/{official}/{int(person)}"
    split, by = train_or_val(group, "folder") if official == "train" else (official, "folder")
    real = next(name for name, said in NAMES.items() if said == ("", quality))
    return Row(
        dataset="casia_fasd",
        item_id=f"{group}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if method else 0,
        label_native=one.stem,
        group_id=group,
        task="pad",
        method=method,
        family="PAD" if method else "",
        compression=quality,
        identity=f"{official}/{int(person)}",
        pair_key=f"{group}/{real}",
        split=split,
        split_source=by,
        bytes=one.bytes,
    )
