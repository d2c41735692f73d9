"""What a report says in words, for the page: the same words that the HTML report is made of."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, Field

from unmask.scanning.drawing import summary
from unmask.scanning.traces import said
from unmask.scanning.words import (
    C2PA,
    FACE,
    HEAT_NOTE,
    PROVENANCE,
    PROVENANCE_NOTE,
    SHORT,
    STATES,
    confessed,
    event,
    facts,
    meaning_of,
    percent,
    span,
    visible,
)
from unmask.types import FaceReport, FileReport, Report


class FaceWords(BaseModel):
    """One face."""

    track: int
    name: str = Field(examples=["Face 1"])
    verdict: str = Field(examples=["Likely forged"])
    number: str = Field(description='"87 %", or "" where there is none')
    interval: str = Field(description='"70 to 95 %", or ""')
    reasons: list[str]
    summary: str = Field(description="its timeline in a sentence")


class Words(BaseModel):
    """A report in plain sentences; nothing in them is hidden, all of it is text and not HTML."""

    verdict: str = Field(examples=["Likely forged"])
    short: str
    number: str = Field(examples=["87 %"])
    interval: str = Field(examples=["70 to 95 %"])
    event: str = Field(description="what the number is the probability of")
    meaning: str = Field(description="what the verdict means, and what it does not")
    reasons: list[str]
    confessions: list[str] = Field(description="what the file itself says of a generator that made it")
    facts: list[tuple[str, str]] = Field(description="size, length, frames looked at, SHA-256 ...")
    faces: list[FaceWords]
    deciding: int = Field(0, description="position in `faces` of the one that the answer rests on most")
    provenance: list[tuple[str, str]]
    provenance_note: str
    heat_note: str
    trained_on: list[str]
    limits: list[str]


def words_of(report: Report) -> Words:
    """The words for a report on one file."""
    file = report.files[0]
    return Words(
        verdict=STATES[file.state],
        short=SHORT[file.state],
        number=percent(file.score) if file.score is not None else "",
        interval=span(file.low, file.high),
        event=event(report.settings.whole_image),
        meaning=meaning_of(file, report),
        reasons=_shown(file.reasons),
        confessions=_shown(confessed(file.provenance)),
        facts=facts(file),
        deciding=_deciding(file),
        faces=[_face(number, face, report) for number, face in enumerate(file.faces, 1)],
        provenance=_provenance(file),
        provenance_note=PROVENANCE_NOTE,
        heat_note=HEAT_NOTE,
        trained_on=_shown(report.trained_on),
        limits=_shown(report.limits),
    )


def _face(number: int, face: FaceReport, report: Report) -> FaceWords:
    return FaceWords(
        track=face.track,
        name="Whole image" if report.settings.whole_image else f"Face {number}",
        verdict=FACE[face.state],
        number=percent(face.score) if face.score is not None else "",
        interval=span(face.low, face.high),
        reasons=_shown((*face.reasons, *([said(face.traces)] if face.traces else []))),
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
