"""What the API says of a scan."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Literal, cast

from pydantic import BaseModel, Field

from unmask.app.serve.errors import RefusedError
from unmask.app.serve.models import FACE, HEAT, SHEET, Scan
from unmask.app.serve.words import Words, words_of
from unmask.scanning.words import SHORT, WHOLE_SHORT, percent
from unmask.types import Report, State

JobState = Literal["queued", "running", "done", "failed"]


class Pictures(BaseModel):
    """Addresses of the images of one face."""

    track: int = Field(description="0 = the image as a whole: the part of it that says most")
    face: str | None = Field(None, description="JPEG, the crop that says most")
    heat: str | None = Field(None, description="JPEG, the heat map over it")


class ScanLine(BaseModel):
    """A scan in short."""

    id: str = Field(examples=["0f8e6e3a5a0c4a0f9a6d6e0b7c1d2e3f"])
    state: JobState = Field(description="done: there is an answer; failed: the process that scanned it ended")
    name: str = Field(description="as the caller named the file; only shown", examples=["interview.mp4"])
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    progress: float = Field(ge=0, le=1)
    verdict: State | None = None
    score: float | None = Field(
        None, description="calibrated probability, of the answer that the verdict rests on; null: no number"
    )
    answer: str = Field("", description="the verdict in words", examples=["Likely forged"])
    number: str = Field("", description='the score as the report writes it: "87 %", or "" where there is none')
    picture: str | None = Field(None, description="address of a face in it, a JPEG")


class Webhook(BaseModel):
    """How it went with telling an address that the scan has ended."""

    address: str
    state: Literal["waiting", "delivered", "to be tried again", "given up"]
    tries: int
    said: str | None = Field(None, description="what came of the last try")
    next: datetime | None = Field(None, description="when it is tried again")


class ScanView(ScanLine):
    """A scan with all that is known of it."""

    media: str | None = Field(None, description="address of the upload, until its time is over")
    format: str | None = None
    report: Report | None = None
    words: Words | None = Field(None, description="the report in plain sentences")
    pictures: list[Pictures] = []
    webhook: Webhook | None = None


class ScanPage(BaseModel):
    """Some scans, newest first."""

    items: list[ScanLine]
    cursor: str | None = Field(None, description="pass it on for those that follow; null: there are none")


def line(scan: Scan, track: int | None = None) -> ScanLine:
    """`track`: a face of which there is an image."""
    return ScanLine.model_validate(_about(scan, track))


def view(scan: Scan, pictures: dict[tuple[int, str], bytes]) -> ScanView:
    here = f"/v1/scans/{scan.id}"
    report = Report.model_validate_json(scan.report) if scan.report else None
    tracks = sorted({track for track, kind in pictures if kind != SHEET})
    return ScanView.model_validate(
        _about(scan, min((track for track, kind in pictures if kind == FACE and track), default=None))
        | {
            "media": f"{here}/media" if scan.media else None,
            "format": scan.format,
            "report": report,
            "words": words_of(report) if report else None,
            "webhook": _webhook(scan),
            "pictures": [
                Pictures(
                    track=track,
                    face=f"{here}/faces/{track}/{FACE}.jpg" if (track, FACE) in pictures else None,
                    heat=f"{here}/faces/{track}/{HEAT}.jpg" if (track, HEAT) in pictures else None,
                )
                for track in tracks
            ],
        }
    )


def with_pictures(report: Report, pictures: dict[tuple[int, str], bytes]) -> Report:
    """The report as it left the scan, for HTML."""
    files = tuple(
        file.model_copy(
            update={
                "sheet": pictures.get((0, SHEET)),
                "whole": file.whole and file.whole.model_copy(update=_drawn(0, pictures)),
                "faces": tuple(face.model_copy(update=_drawn(face.track, pictures)) for face in file.faces),
            }
        )
        for file in report.files
    )
    return report.model_copy(update={"files": files})


def _drawn(track: int, pictures: dict[tuple[int, str], bytes]) -> dict[str, bytes | None]:
    return {"thumbnail": pictures.get((track, FACE)), "heat": pictures.get((track, HEAT))}


def cursor_of(scan: Scan) -> str:
    return base64.urlsafe_b64encode(json.dumps([scan.created, scan.id]).encode()).decode("ascii")


def read_cursor(text: str) -> tuple[float, str]:
    """Raises: RefusedError 422."""
    try:
        created, key = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        if isinstance(created, float) and isinstance(key, str) and key.isalnum():
            return created, key
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    raise RefusedError(422, "this cursor was not given out by this service; leave it out to begin at the newest scan")


def _about(scan: Scan, track: int | None) -> dict[str, object]:
    return {
        "id": scan.id,
        "state": scan.state,
        "name": scan.name,
        "created": _moment(scan.created),
        "started": _moment(scan.started),
        "finished": _moment(scan.finished),
        "progress": min(1.0, max(0.0, scan.progress)),
        "verdict": scan.verdict,
        "score": scan.score,
        "answer": _answer(scan),
        "number": percent(scan.score) if scan.score is not None else "",
        "picture": None if track is None else f"/v1/scans/{scan.id}/faces/{track}/{FACE}.jpg",
    }


def _answer(scan: Scan) -> str:
    """The verdict in words, of the question that it rests on (`unmask.scanning.words.telling`)."""
    file = json.loads(scan.report)["files"][0] if scan.report else {}
    of_whole = file.get("whole") and file.get("face_state") != scan.verdict
    return (WHOLE_SHORT if of_whole else SHORT).get(cast(State, scan.verdict), "")


def _webhook(scan: Scan) -> dict[str, object] | None:
    if not scan.webhook:
        return None
    return {
        "address": scan.webhook,
        "state": scan.webhook_state or "waiting",
        "tries": scan.webhook_tries,
        "said": scan.webhook_said,
        "next": _moment(scan.webhook_due),
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
