"""DeepSpeak v1.1 and v2: consenting people before their webcams, their faces and lips forged by several engines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from unmask.data.adapter import DataCard, Problem, walk
from unmask.data.datasets._files import STRADDLES_IDENTITY, Medium, crossing, files, read_table
from unmask.data.manifest import Family, Row, Split, derived_split
from unmask.errors import ManifestError

CARD = DataCard(
    title="DeepSpeak v1.1 and v2",
    paper="Barrington, Bohacek and Farid, 2024, arXiv 2408.05366",
    access="Hugging Face, gated: faridlab/deepspeak_v1_1, faridlab/deepspeak_v2",
    terms="academic licence; consented people, no redistribution",
    layout="third-party loader",
    splits="v2: official by identity (annotations-split-def.csv); v1.1: derived by target identity",
    unverified=(
        "folders above the videos are free; names and columns are a third party's",
        "v1.1 has 6,667 real, 6,796 fake",
    ),
    traps=(
        "one release at a time: a tree with annotations-split-def.csv is v2",
        "a v2 forgery that annotations-fake.csv does not list has no identity and so no split",
        "rows that show people of two splits are flagged",
    ),
)
_FAMILY: dict[str, Family] = {
    **dict.fromkeys(("facefusion", "facefusion_gan", "facefusion_live"), "FS"),
    **dict.fromkeys(("retalking", "wav2lip", "diff2lip", "latentsync", "hellomeme", "liveportrait", "memo"), "FR"),
}
_REAL = re.compile(r"(?P<target>\w+)-(?P<rec>\w+)")
_FAKE_1 = re.compile(r"(?P<engine>\w+)--(?P<source>\w+)-(?P<target>\w+)--(?P<srec>\w+)-(?P<rec>\w+)--\w+")
_FAKE_2 = re.compile(r"(?P<engine>diff2lip|facefusion|hellomeme|latentsync|liveportrait|memo)-.+-.+")
_SPLITS, _FAKES = "annotations-split-def.csv", "annotations-fake.csv"


@dataclass(frozen=True)
class _Lists:
    """v2's annotations; empty for v1.1."""

    splits: dict[str, Split]
    fakes: dict[str, dict[str, str]]


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every video, told by its name. Raises: UnmaskError for damaged annotations."""
    tables = {path.rpartition("/")[2]: root / path for path, _ in walk(root) if Path(path).name in (_SPLITS, _FAKES)}
    lists = _Lists(
        _splits(tables[_SPLITS]) if _SPLITS in tables else {}, _fakes(tables[_FAKES]) if _FAKES in tables else {}
    )
    if len(tables) == 1:
        yield Problem(next(iter({_SPLITS, _FAKES} - set(tables))), "missing", "v2 needs it for identities and splits")
    seen: set[str] = set()
    for one in files(root, suffixes=(".mp4",), lists=(_SPLITS, _FAKES)):
        stem = Path(one.relpath if isinstance(one, Problem) else one.path).stem
        if isinstance(one, Problem):
            yield one
        elif stem in seen:
            yield Problem(one.path, "inconsistent", "a second video of this name")
        else:
            yield _row(one, lists, "2" if tables else "1.1")
        seen.add(stem)
    yield from (Problem(name, "missing", f"{_FAKES} lists it") for name in sorted(set(lists.fakes) - seen))


def _splits(path: Path) -> dict[str, Split]:
    known: dict[str, Split] = {split: split for split in get_args(Split)}
    table = read_table(path, ("identity", "split"))
    for line in table:
        if line["split"] not in known:
            raise ManifestError(
                f"{path}: the split of {line['identity']} is {line['split']!r}; fetch it from the set again"
            )
    return {line["identity"]: known[line["split"]] for line in table}


def _fakes(path: Path) -> dict[str, dict[str, str]]:
    columns = ("video-file", "identity-source", "identity-target", "recording-target", "engine")
    return {Path(line["video-file"]).stem: line for line in read_table(path, columns)}


def _row(one: Medium, lists: _Lists, release: str) -> Row | Problem:
    forged = (_FAKE_1 if release == "1.1" else _FAKE_2).fullmatch(one.stem)
    real = None if forged else _REAL.fullmatch(one.stem)
    if not (forged or real) or (forged and forged["engine"] not in _FAMILY):
        return Problem(one.path, "unknown", f"not the name of a video of v{release}")
    line, engine = lists.fakes.get(one.stem, {}), forged["engine"] if forged else ""
    named = (forged or real).groupdict() if real or release == "1.1" else {}  # type: ignore[union-attr]
    target = named.get("target") or line.get("identity-target", "")
    source = named.get("source") or line.get("identity-source", "")
    recording = named.get("rec") or line.get("recording-target", "")
    split: Split | None
    group = f"deepspeak/{release}/{target or one.stem}"
    if release == "1.1":
        split, by = derived_split(group), "derived"
        flags = crossing(group, [f"deepspeak/{release}/{source}"] if source else [])
    else:
        split, by = lists.splits.get(target), _SPLITS if target in lists.splits else ""
        flags = (STRADDLES_IDENTITY,) if source and lists.splits.get(source) != split else ()
    return Row(
        dataset="deepspeak",
        item_id=f"deepspeak/{release}/{engine or 'real'}/{one.stem}",
        relpath=one.path,
        media_type="audio_video",
        label=1 if forged else 0,
        group_id=group,
        release=release,
        method=engine,
        family=_FAMILY[engine] if forged else "",
        identity=target,
        target_id=target,
        source_id=source,
        pair_key=f"deepspeak/{release}/real/{target}-{recording}" if target and recording else "",
        split=split,
        split_source=by,
        bytes=one.bytes,
        flags=flags,
    )
