"""KoDF: 403 Korean subjects, five ways of forging them, and an adversarial part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import Medium, crossing, files
from unmask.data.manifest import Family, Row, derived_split

CARD = DataCard(
    title="Korean DeepFake Detection Dataset (KoDF)",
    paper="Kwon et al., ICCV 2021, arXiv 2103.10094",
    access="AI-Hub, approved applicants; 1-2 TB",
    terms="AI-Hub terms; no redistribution",
    layout="third-party loader",
    counts={"real": 62_166, "fake": 175_776},
    splits="none: derived by the target actor; forgeries whose source actor falls elsewhere are flagged",
    unverified=("names, method codes and the adversarial folder's name are from documents of third parties",),
    traps=("which recording was forged is not published: there is no original to a forgery, only its actor",),
)
_ACTOR = r"[0-9a-f]{20}|\d{6}"
_REAL = re.compile(rf"(?P<target>{_ACTOR})_(?P<rec>\d{{3}})")
_FAKE = re.compile(rf"(?P<target>{_ACTOR})_(?P<source>{_ACTOR})_(?P<code>[1-5])_(?P<seq>\d+)")
CODES: dict[str, tuple[str, Family]] = {
    "1": ("DeepFaceLab", "FS"),
    "2": ("FaceSwap", "FS"),
    "3": ("FSGAN", "FS"),
    "4": ("FOMM", "FR"),
    "5": ("audio-driven", "FR"),
}


def rows(root: Path) -> Iterator[Row | Problem]:
    """Every video <part or date>/<actor>/<name>.mp4, however deep the parts lie."""
    for one in files(root, suffixes=(".mp4",)):
        if isinstance(one, Problem):
            yield one
        elif (match := _REAL.fullmatch(one.stem) or _FAKE.fullmatch(one.stem)) is None:
            yield Problem(one.path, "unknown", "neither <actor>_<NNN> nor <target>_<source>_<code>_<seq>")
        elif one.parts[-2:-1] != (match["target"],):
            yield Problem(one.path, "inconsistent", f"a video of {match['target']} outside that actor's folder")
        else:
            yield _row(one, match.groupdict())


def _row(one: Medium, named: dict[str, str]) -> Row:
    target, source = named["target"], named.get("source", "")
    method, family = CODES[named["code"]] if source else ("", "")
    item = "/".join(("kodf", method or "real", *one.parts[:-2], one.stem))
    flags = crossing(f"kodf/{target}", [f"kodf/{source}"] if source else [])
    adversarial = any(part.lower().startswith("adversarial") for part in one.parts[:-2])
    return Row(
        dataset="kodf",
        item_id=item,
        relpath=one.path,
        media_type="audio_video",
        label=1 if source else 0,
        label_native=named.get("code", ""),
        group_id=f"kodf/{target}",
        method=method,
        family=family,
        identity=target,
        target_id=target,
        source_id=source,
        pair_key="" if source else item,
        split=derived_split(f"kodf/{target}"),
        split_source="derived",
        perturbations=("adversarial",) if adversarial else (),
        bytes=one.bytes,
        flags=flags,
    )
