"""A verdict that was wrong, as an anonymous row: what was answered about which content, and what is true.

A row holds the hash of the file and numbers, no pixels, name, place or metadata of it. The hash tells whoever has the
same file that it was reported, and nobody else anything. Rows of two releases on the same files show whether the newer
one wins more of them than it loses (`unmask eval regressions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from unmask.errors import InputError
from unmask.types import FileReport, Plain, Sample, State

Truth = Literal["real", "fake"]


class Face(Plain):
    """What was said of one face, and how large it was."""

    state: State
    score: float | None
    side: float = Field(description="geometric mean of the box's sides, pixels, mean over frames")
    frames: int


class Row(Plain):
    """One file, one detector. `face_state`, `score` are of faces; `whole_state`, `whole_score` of the whole."""

    format: Literal["unmask.wrong/1"] = "unmask.wrong/1"
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    truth: Truth
    state: State
    face_state: State | None
    score: float | None
    whole_state: State | None
    whole_score: float | None
    kind: Literal["image", "video"]
    media: str = Field(description="format of the content: jpeg, mp4 ...")
    width: int
    height: int
    faces: tuple[Face, ...]
    detector: str
    weights_sha256: str
    version: str = Field(description="of unmask")

    @property
    def right(self) -> bool:
        """Whether the verdict is what is true; one that cannot tell is not."""
        return self.state == self.truth


def row_of(file: FileReport, truth: Truth, version: str) -> Row:
    """Raises: UnmaskError for a file that could not be read."""
    if file.sha256 is None or file.media is None or file.state == "failed":
        raise InputError(f"{file.path} could not be read, so there is no verdict: {'; '.join(file.reasons)}")
    return Row(
        sha256=file.sha256,
        truth=truth,
        state=file.state,
        face_state=file.face_state,
        score=file.score,
        whole_state=file.whole.state if file.whole else None,
        whole_score=file.whole.score if file.whole else None,
        kind=file.media.kind,
        media=file.media.format,
        width=file.media.width,
        height=file.media.height,
        faces=tuple(
            Face(state=face.state, score=face.score, side=_side(face.samples), frames=len(face.samples))
            for face in file.faces
        ),
        detector=file.detector.name if file.detector else "",
        weights_sha256=file.detector.weights_sha256 if file.detector else "",
        version=version,
    )


def lines(rows: Iterable[Row]) -> str:
    """JSON, one row a line."""
    return "".join(row.model_dump_json() + "\n" for row in rows)


def read(path: Path) -> list[Row]:
    """Rows of a file, of each content the last one. Raises: UnmaskError that names the line."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    found: dict[str, Row] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = Row.model_validate(json.loads(line))
        except (ValueError, ValidationError) as error:
            raise InputError(f"{path}, line {number}, is no row of `unmask report-wrong`: {error}") from None
        found[row.sha256] = row
    return list(found.values())


def compared(old: Iterable[Row], new: Iterable[Row]) -> tuple[int, int, int, int]:
    """Files (right in both, won by the new, lost by it, wrong in both) among the contents that both have.

    Raises: UnmaskError where they disagree on what is true, or share no content.
    """
    before = {row.sha256: row for row in old}
    pairs = [(before[row.sha256], row) for row in new if row.sha256 in before]
    if not pairs:
        raise InputError("the two files have no content in common: ask both releases the same files")
    for a, b in pairs:
        if a.truth != b.truth:
            raise InputError(f"{a.sha256} is {a.truth} in one file and {b.truth} in the other: settle which")
    counts = [sum((a.right, b.right) == case for a, b in pairs) for case in ((1, 1), (0, 1), (1, 0), (0, 0))]
    return counts[0], counts[1], counts[2], counts[3]


def _side(samples: Sequence[Sample]) -> float:
    boxes = [sample.box for sample in samples]
    sides = [(max(x1 - x0, 0.0) * max(y1 - y0, 0.0)) ** 0.5 for x0, y0, x1, y1 in boxes]
    return round(sum(sides) / len(sides), 1) if sides else 0.0
