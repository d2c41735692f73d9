"""OULU-NPU: 55 people before the cameras of six phones, printed twice and replayed on two displays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, files, folder_names, read_lines, strangers
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="OULU-NPU",
    paper="Boulkenafet et al., FG 2017",
    access="an agreement signed by the institution; University of Oulu",
    terms="research only; no redistribution",
    layout="distributor",
    counts={"real": 990, "fake": 3960},
    splits="official, by folder: 20, 15 and 20 people; what the four protocols take of them is in extra['protocol_N']",
    unverified=("lists that write -2 for replays in some releases are from memory",),
    traps=(
        "the lists write +1 for real and -1 (or -2) for an attack",
        "the last digit of a stem alone tells real (1) from an attack (2 to 5)",
        "protocols 3 and 4 have six folds: protocol_3_1 is the first",
    ),
)
_NAME = re.compile(r"(?P<phone>[1-6])_(?P<session>[1-3])_(?P<user>\d{1,2})_(?P<file>[1-5])")
_LINE = re.compile(r"([+-]?\d)\s*,\s*(\w+)")
_LIST = re.compile(r"(Train|Dev|Test)(?:_([1-6]))?\.txt")
_SIDES: dict[str, Split] = {"Train": "train", "Dev": "val", "Test": "test"}
METHODS = {"1": "", "2": "print_1", "3": "print_2", "4": "replay_1", "5": "replay_2"}


def rows(root: Path) -> Iterator[Row | Problem]:
    """The videos of {Train,Dev,Test}_files. Raises: UnmaskError for a damaged protocol list."""
    yield from strangers(root, (*(f"{side}_files" for side in _SIDES), "Protocols", "Baseline"))
    listed = _protocols(root)
    if not listed:
        yield Problem("Protocols", "missing", "without its lists no row says what protocol it belongs to")
    seen: set[str] = set()
    for side, split in _SIDES.items():
        for one in files(root, f"{side}_files", (".avi",), beside=(".txt",)):
            if isinstance(one, Problem):
                yield one
            elif (match := _NAME.fullmatch(one.stem)) is None:
                yield Problem(one.path, "unknown", "not <phone>_<session>_<user>_<1..5>.avi")
            elif one.stem in seen:
                yield Problem(one.path, "inconsistent", "a second video of this name")
            elif any(said != split for said in listed.get(one.stem, {}).values()):
                seen.add(one.stem)
                yield Problem(one.path, "inconsistent", "a protocol takes it for another split than its folder says")
            else:
                seen.add(one.stem)
                yield _row(one, match.groupdict(), split, listed.get(one.stem, {}))
    yield from (Problem(name, "missing", "a protocol lists it") for name in sorted(set(listed) - seen))


def _protocols(root: Path) -> dict[str, dict[str, str]]:
    """Video -> {"protocol_3_1": "train"}; a list that calls a real video an attack is of the other polarity."""
    found: dict[str, dict[str, str]] = {}
    for folder in folder_names(root, "Protocols"):
        for name in folder_names(root, f"Protocols/{folder}", everything=True):
            if (match := _LIST.fullmatch(name)) is None:
                continue
            path = root / "Protocols" / folder / name
            for number, line in read_lines(path):
                said = _LINE.fullmatch(line)
                if said is None or (said[1] in ("1", "+1")) != said[2].endswith("_1"):
                    raise ManifestError(
                        f"{path}, line {number} is not '+1,<real video>' or '-1,<attack>'; fetch it from the set again"
                    )
                key = "_".join(filter(None, (folder.lower(), match[2])))
                found.setdefault(said[2], {})[key] = _SIDES[match[1]]
    return found


def _row(one: Medium, named: dict[str, str], split: Split, protocols: dict[str, str]) -> Row:
    method, user = METHODS[named["file"]], str(int(named["user"]))
    return Row(
        dataset="oulu_npu",
        item_id=f"oulu_npu/{method or 'real'}/{one.stem}",
        relpath=one.path,
        media_type="video",
        label=1 if method else 0,
        label_native="-1" if method else "+1",
        group_id=f"oulu_npu/{user}",
        task="pad",
        method=method,
        family="PAD" if method else "",
        identity=user,
        pair_key=f"oulu_npu/real/{named['phone']}_{named['session']}_{named['user']}_1",
        split=split,
        split_source="folder",
        bytes=one.bytes,
        extra={"phone": named["phone"], "session": named["session"], **protocols},
    )
