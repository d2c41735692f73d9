"""OW-DFA and OWDFA-40: whose method made this face? Twenty and forty methods, gathered from other sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets import _celeb_df, _ffpp
from unmask.data.datasets._files import STRADDLES_SOURCE, Medium, files, folder_names, read_table
from unmask.data.manifest import Family, Row, derived_split

CARD = DataCard(
    title="OW-DFA and OWDFA-40",
    paper="Sun et al., ICCV 2023, arXiv 2309.11132; Zheng et al., AAAI 2026 (OWDFA-40)",
    access="OW-DFA: made by its notebook from six other sets; OWDFA-40: Hugging Face hyzheng/OWDFA40-Benchmark",
    terms="those of the sets it was made from; none redistributed",
    layout="distributor",
    splits="FaceForensics++ videos keep their official split; the rest derived by video or image",
    unverified=(
        "names of images of ForgeryNet, DFFD and ForgeryNIR, and of all of OWDFA-40: groups there may be one image",
        "which classes of OWDFA-40 are made from FaceForensics++ is from its method table",
    ),
    traps=(
        "the authors split frames at random, so frames of one video stand on both sides: not done here",
        "they draw samples in the order of the disk's listing: their lists cannot be made again",
        "the folder is spelled EntireFaceSyncthesis",
        "the protocols' labelled and unlabelled parts are in extra['protocol_...']",
    ),
)
_TYPES: dict[str, Family] = {
    **{"RealFace": "", "IdentitySwap": "FS", "ExpressionTransfer": "FR"},
    **{"AttributeManipulation": "FE", "EntireFaceSyncthesis": "EFS"},
}
_TYPES_40: dict[str, Family] = {"Real": "", "Swap": "FS", "Reenact": "FR", "Edit": "FE", "Generate": "EFS"}
_CLASS = re.compile(r"(?P<index>\d{1,2})_(?P<type>Real|Swap|Reenact|Edit|Generate)_(?P<name>.+)")
_FRAME = re.compile(r"(?:(?P<compression>raw|c23|c40)-)?(?P<video>.+)-(?P<frame>\d+)")
_FFPP, _CELEB = re.compile(r"(\d{3})(?:_\d{3})?"), re.compile(r"(id\d+)_(?:id\d+_)?\d{4}")
_FROM_FFPP = {1, 2, 6, 7, *range(21, 41)}  # of OWDFA-40, beside 0_Real_FF++
_TAGS = {"0": "unused", "1": "labelled", "2": "unlabelled"}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every image of either release, at the root or in data/ or data/release/.

    Raises: UnmaskError for a damaged list of meta_data/.
    """
    home = next((h for h in ("data/release", "data", "") if _known(folder_names(root, h))), "")
    below = f"{home}/" if home else ""
    tags = _tags(root / home / "meta_data")
    for name in folder_names(root, home):
        match = _CLASS.fullmatch(name)
        if match is None and name not in _TYPES:
            if name != "meta_data":
                yield Problem(below + name, "unknown", "neither a type of OW-DFA nor a class of OWDFA-40")
            continue
        for one in files(root, below + name, PICTURES):
            if isinstance(one, Problem):
                yield one
            else:
                yield _forty(one, match) if match else _twenty(one, below, tags)


def _known(names: list[str]) -> bool:
    return any(name in _TYPES or _CLASS.fullmatch(name) for name in names)


def _tags(folder: Path) -> dict[str, dict[str, str]]:
    """<type>/<method>/<source>/<file> -> {"protocol_1_large": "labelled"}, from the published lists."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("Protocol*_meta.csv")):
        match = re.fullmatch(r"Protocol(\d)_.*_(large|val)_merge_meta", path.stem)
        for line in read_table(path, ("img_path", "tag")) if match else ():
            key = "/".join(PurePosixPath(line["img_path"]).parts[-4:])
            found.setdefault(key, {})[f"protocol_{match[1]}_{match[2]}"] = _TAGS.get(line["tag"], line["tag"])  # type: ignore[index]
    return found


def _twenty(one: Medium, below: str, tags: dict[str, dict[str, str]]) -> Row | Problem:
    key = one.path.removeprefix(below)
    if key.count("/") != 3:
        return Problem(one.path, "unknown", "not <type>/<method>/<source>/<image>")
    kind, method, source, _ = key.split("/")
    made_of = {"faceforensics": _FFPP, "CelebDF": _CELEB}.get(source)
    said = {"source": source, **tags.get(key, {})}
    return _row(one, "OW-DFA", method if _TYPES[kind] else "", kind, _TYPES[kind], made_of, said)


def _forty(one: Medium, named: re.Match[str]) -> Row | Problem:
    index, kind, method = int(named["index"]), named["type"], named["name"]
    if (index == 0) != (kind == "Real") or index > 40:
        return Problem(one.path, "inconsistent", "class 0 and no other is real, and 40 is the last")
    made_of = _FFPP if index in _FROM_FFPP or (index == 0 and "FF" in method) else _CELEB if index == 0 else None
    source = {"source": method} if index == 0 else {}
    return _row(one, "OWDFA-40", method if index else "", named[0], _TYPES_40[kind], made_of, source)


def _row(
    one: Medium,
    release: str,
    method: str,
    native: str,
    family: Family,
    made_of: re.Pattern[str] | None,
    extra: dict[str, str],
) -> Row:
    frame = _FRAME.fullmatch(one.stem)
    # a video's name stands before the frame's number, or is that of a folder above
    names = (frame["video"] if frame else one.stem, *reversed(one.parts[:-1]))
    clip = next((m[1] for m in map(made_of.fullmatch, names) if m), "") if made_of else ""
    item = f"owdfa/{release}/{native}/{one.path.rpartition(native + '/')[2] or one.path}"
    of_ffpp = clip != "" and made_of is _FFPP
    group = _ffpp.groups()[clip] if of_ffpp else _celeb_df.group(clip) if clip else _video(one, item, frame)
    return Row(
        dataset="owdfa",
        item_id=item,
        relpath=one.path,
        label=1 if method else 0,
        label_native=native,
        group_id=group,
        release=release,
        task="attribution",
        method=method,
        family=family,
        compression=(frame["compression"] or "") if frame else "",
        split=_ffpp.splits()[clip] if of_ffpp else derived_split(group),
        split_source="FaceForensics++" if of_ffpp else "derived",
        bytes=one.bytes,
        flags=(STRADDLES_SOURCE,) if group in _ffpp.straddling() else (),
        extra=extra,
    )


def _video(one: Medium, item: str, frame: re.Match[str] | None) -> str:
    """All frames of what is named as a video's frame; else the image alone."""
    return f"{item.rpartition('/')[0]}/{frame['video'] if frame else one.stem}"
