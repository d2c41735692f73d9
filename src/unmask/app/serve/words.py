"""What a report says in words, for the page: the same words that the HTML report is made of."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, Field

from unmask.scanning.drawing import summary
from unmask.scanning.evidence import unsaid
from unmask.scanning.html_file import DRAWN
from unmask.scanning.traces import said
from unmask.scanning.words import (
    C2PA,
    FACE,
    FACES_ASKED,
    HEAT_NOTE,
    MEASURED,
    PROVENANCE,
    PROVENANCE_NOTE,
    STATES,
    WHOLE,
    WHOLE_ASKED,
    confessed,
    event,
    facts,
    headline,
    map_note,
    meaning_of,
    meaning_of_whole,
    percent,
    short,
    span,
    visible,
)
from unmask.types import FaceReport, FileReport, Report, WholeReport


class FaceWords(BaseModel):
    """One face."""

    track: int
    name: str = Field(examples=["Face 1"])
    verdict: str = Field(examples=["Likely forged"])
    number: str = Field(description='"87 %", or "" where there is none')
    interval: str = Field(description='"70 to 95 %", or ""')
    reasons: list[str]
    measured: list[str] = Field(description="what was measured besides the reasons")
    summary: str = Field(description="its timeline in a sentence")


class WholeWords(BaseModel):
    """The answer about the image as a whole."""

    question: str
    verdict: str = Field(examples=["Likely generated"])
    number: str
    interval: str
    event: str
    meaning: str
    reasons: list[str]
    measured: list[str] = Field(description="what was measured besides the reasons")
    map_note: str = Field(description="how well its maps were measured to point, or why none is shown")


class Words(BaseModel):
    """A report in plain sentences; nothing in them is hidden, all of it is text and not HTML."""

    verdict: str = Field(examples=["Likely forged"], description="of the file")
    short: str
    question: str = Field(description="that the following answer")
    face_verdict: str = Field(description="the answer about faces; empty: not asked")
    number: str = Field(examples=["87 %"])
    interval: str = Field(examples=["70 to 95 %"])
    event: str = Field(description="what the number is the probability of")
    meaning: str = Field(description="what the verdict means, and what it does not")
    reasons: list[str]
    confessions: list[str] = Field(description="what the file itself says of a generator that made it")
    facts: list[tuple[str, str]] = Field(description="size, length, frames looked at, SHA-256 ...")
    faces: list[FaceWords]
    whole: WholeWords | None = Field(None, description="the second question and its answer; null: not asked")
    deciding: int = Field(0, description="position in `faces` of the one that the answer rests on most")
    provenance: list[tuple[str, str]]
    provenance_note: str
    measured_title: str = Field(description="of what was measured besides the reasons")
    heat_note: str = Field(description="what a heat map shows")
    map_note: str = Field(description="how well the maps of faces were measured to point, or why none is shown")
    trained_on: list[str]
    limits: list[str]


def words_of(report: Report) -> Words:
    """The words for a report on one file."""
    file = report.files[0]
    return Words(
        verdict=headline(file),
        short=short(file),
        question=FACES_ASKED,
        face_verdict=STATES[file.face_state] if file.face_state else "",
        number=percent(file.score) if file.score is not None else "",
        interval=span(file.low, file.high),
        event=event(whole=False),
        meaning=meaning_of(file, report),
        reasons=_shown(file.reasons),
        confessions=_shown(confessed(file.provenance)),
        facts=facts(file),
        deciding=_deciding(file),
        whole=_whole(file, file.whole, report) if file.whole else None,
        faces=[_face(file, number, face) for number, face in enumerate(file.faces, 1)],
        provenance=_provenance(file),
        provenance_note=PROVENANCE_NOTE,
        measured_title=MEASURED,
        heat_note=HEAT_NOTE,
        map_note=map_note(report.explanation, any(face.heat is not None for face in file.faces)),
        trained_on=_shown(report.trained_on),
        limits=_shown(report.limits),
    )


def _whole(file: FileReport, whole: WholeReport, report: Report) -> WholeWords:
    return WholeWords(
        question=WHOLE_ASKED,
        verdict=WHOLE[whole.state],
        number=percent(whole.score) if whole.score is not None else "",
        interval=span(whole.low, whole.high),
        event=event(whole=True),
        meaning=meaning_of_whole(whole, report),
        reasons=_shown(whole.reasons),
        measured=_shown(unsaid(file, "picture", whole.reasons, DRAWN)),
        map_note=map_note(report.whole.explanation if report.whole else report.explanation, whole.heat is not None),
    )


def _face(file: FileReport, number: int, face: FaceReport) -> FaceWords:
    return FaceWords(
        track=face.track,
        name=f"Face {number}",
        verdict=FACE[face.state],
        number=percent(face.score) if face.score is not None else "",
        interval=span(face.low, face.high),
        reasons=_shown((*face.reasons, *([said(face.traces)] if face.traces else []))),
        measured=_shown(unsaid(file, f"face {face.track}", face.reasons, DRAWN)),
        summary=summary(face.samples) if face.samples else "",
    )


def _deciding(file: FileReport) -> int:
    tracks = [face.track for face in file.faces]
    return tracks.index(file.rests_on) if file.rests_on in tracks else 0


def _provenance(file: FileReport) -> list[tuple[str, str]]:
    found = dict(file.provenance)
    if file.state == "failed" and not found:
        return []
    found["c2pa"] = C2PA.get(found.get("c2pa", "not_checked"), found.get("c2pa", ""))
    ordered = sorted(found.items(), key=lambda item: item[0].startswith("c2pa"))
    return [(PROVENANCE.get(key) or visible(key, 100), visible(value)) for key, value in ordered]


def _shown(items: Iterable[str]) -> list[str]:
    return [visible(item) for item in items]
