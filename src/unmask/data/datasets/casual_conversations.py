"""Casual Conversations v1 and v2: paid people who said how old and of what gender they are. All real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field, TypeAdapter

from unmask.data.adapter import CLIPS, DataCard, Problem
from unmask.data.datasets._files import Medium, files, read_json
from unmask.data.manifest import Row
from unmask.errors import ManifestError

CARD = DataCard(
    title="Casual Conversations v1 and v2",
    paper="Hazirbas et al., 2021, arXiv 2104.02821; Porgali et al., 2023, arXiv 2303.04838",
    access="an agreement with Meta; ai.meta.com/datasets",
    terms="evaluation of fairness only; no identification, no redistribution",
    layout="third-party loader",
    splits="none: all of it is test, since it is for evaluation only",
    unverified=(
        "v1: 45,186 videos of 3,011 people; v2: 26,467 of 5,567",
        "fields of v2's JSON, and that its videos are named by video_name, are a third party's",
    ),
    traps=(
        "there are no forgeries: it measures false alarms, by group",
        "v1's skin type is the Fitzpatrick scale as annotators saw it, not as the people said",
        "dark videos of v1 are in extra['light']: skin type and light should be looked at together",
        "numbers of people of v1 and v2 have nothing to do with one another",
    ),
)
_NAMES = {"CasualConversations.json": "v1", "CasualConversationsV2.json": "v2"}
_HOMES = ("", "CC_annotations", "annotations", "Annotations")


class _Subject(BaseModel):
    """v1: one person, their videos and what they said of themselves."""

    files: list[str]
    dark_files: list[str] = []
    label: dict[str, str | int | None] = {}


class _Clip(BaseModel):
    """v2: one video; fields that are not asked for are passed over."""

    video_name: str
    subject_id: str | int
    age: str | int | None = None
    gender: str | None = None
    native_language: str | None = None
    geo_location: dict[str, str | None] = Field(default_factory=dict)
    monk_skin_tone: dict[str, str | None] = Field(default_factory=dict)
    fitzpatrick_skin_tone: dict[str, str | None] = Field(default_factory=dict)


class _Said(BaseModel):
    """What is known of a video, of either release."""

    release: str
    subject: str
    demographics: dict[str, str]
    extra: dict[str, str]


_V1, _V2 = TypeAdapter(dict[str, _Subject]), TypeAdapter(list[_Clip])


def rows(root: Path) -> Iterator[Row | Problem]:
    """The videos that the annotations name, wherever below the root. Raises: UnmaskError without annotations."""
    tables = [p for home in _HOMES for name in _NAMES if (p := root / home / name).is_file()]
    if not tables:
        raise ManifestError(f"{root} has no {' or '.join(_NAMES)}; put the annotations there, or in CC_annotations/")
    known: dict[str, _Said] = {}
    for table in tables:
        known |= _first(table) if _NAMES[table.name] == "v1" else _second(table)
    seen: set[str] = set()
    for one in files(root, suffixes=CLIPS, beside=(".json", ".csv", ".txt", ".md", ".pdf")):
        path = one.relpath if isinstance(one, Problem) else one.path
        key = next((k for k in ("/".join(path.split("/")[-2:]), Path(path).stem) if k in known), "")
        twice = key in seen
        seen.add(key)
        if isinstance(one, Problem):
            yield one
        elif not key:
            yield Problem(path, "unknown", "the annotations do not name it")
        elif twice:
            yield Problem(path, "inconsistent", "a second video of this name")
        else:
            yield _row(one, known[key])
    yield from (Problem(key, "missing", "the annotations name it") for key in sorted(set(known) - seen))


def _first(table: Path) -> dict[str, _Said]:
    """v1: <person>/<video>.MP4 -> what is said of it."""
    found = {}
    for subject, said in read_json(table, _V1).items():
        dark = set(said.dark_files)
        people = {k: v for k, v in said.label.items() if k in ("age", "gender")}
        people["fitzpatrick"] = said.label.get("skin-type")
        for path in said.files:
            light = {"light": "dark" if path in dark else "normal"}
            key = "/".join(path.split("/")[-2:])
            found[key] = _Said(release="v1", subject=subject, demographics=_stated(people), extra=light)
    return found


def _second(table: Path) -> dict[str, _Said]:
    """v2: a video's name without suffix -> what is said of it."""
    found = {}
    for clip in read_json(table, _V2):
        people = {
            "age": clip.age,
            "gender": clip.gender,
            "language": clip.native_language,
            "country": clip.geo_location.get("country"),
            "monk": clip.monk_skin_tone.get("scale"),
            "fitzpatrick": clip.fitzpatrick_skin_tone.get("type"),
        }
        key = Path(clip.video_name).stem if clip.video_name.lower().endswith(CLIPS) else clip.video_name
        found[key] = _Said(release="v2", subject=str(clip.subject_id), demographics=_stated(people), extra={})
    return found


def _stated(people: dict[str, str | int | None]) -> dict[str, str]:
    return {k: str(v) for k, v in people.items() if v is not None and str(v).strip().upper() not in ("", "N/A")}


def _row(one: Medium, said: _Said) -> Row:
    item = f"casual_conversations/{said.release}/{said.subject}/{one.stem}"
    return Row(
        dataset="casual_conversations",
        item_id=item,
        relpath=one.path,
        media_type="audio_video",
        label=0,
        label_native="real",
        group_id=f"casual_conversations/{said.release}/{said.subject}",
        release=said.release,
        identity=said.subject,
        pair_key=item,
        split="test",
        split_source="derived:test only",
        demographics=said.demographics,
        bytes=one.bytes,
        extra=said.extra,
    )
