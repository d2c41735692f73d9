"""Scores of other people's detectors: a CSV file with an id and a number a row, matched to the rows of a manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from unmask.errors import InputError
from unmask.measure.scores import COLUMNS, validate

IDS = ("item_id", "media_id", "file")  # the last: path below the data set's root, or the bare name
VALUES = ("logit", "probability", "score")
FLOOR = 1e-6  # probabilities are kept this far from 0 and 1: a logit is finite


@dataclass(frozen=True)
class ScoreFile:
    """What a CSV file says.

    `by`: the column of ids, of `IDS`; `value`: id -> logit, or the raw score, higher = more fake; `sha256`: of the
    file's bytes.
    """

    name: str
    by: str
    value: dict[str, float]
    sha256: str

    def ids(self, row: dict[str, Any]) -> tuple[str, ...]:
        """The names that a manifest's row may have in the file."""
        return (row["relpath"], PurePosixPath(row["relpath"]).name) if self.by == "file" else (row[self.by],)

    def of(self, row: dict[str, Any]) -> float | None:
        """The score of a manifest's row, or None where the file has none."""
        return next((self.value[name] for name in self.ids(row) if name in self.value), None)


def read(path: Path) -> ScoreFile:
    """Reads a score file: a header with one column of `IDS` and one of `VALUES`; further columns are not looked at.

    `probability` is P(fake) in 0..1 and becomes a logit; `logit` and `score` are any numbers, higher = more fake.

    Raises: UnmaskError that names the line: an id that comes twice, a value that is no number or not finite.
    """
    try:
        content = path.read_bytes()
        lines = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        header = lines.fieldnames or ()
        by, kind = _one_of(path, header, IDS), _one_of(path, header, VALUES)
        value: dict[str, float] = {}
        for line in lines:
            where = f"{path}, line {lines.line_num}"
            name = (line[by] or "").strip()
            if not name:
                raise InputError(f"{where}: the column {by!r} is empty")
            if name in value:
                raise InputError(f"{where}: {name!r} comes twice; pool the scores of one {by} first")
            value[name] = _number(where, kind, line[kind])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from None
    return ScoreFile(path.stem, by, value, hashlib.sha256(content).hexdigest())


def table_of(file: ScoreFile, rows: Sequence[dict[str, Any]]) -> tuple[pa.Table, int]:
    """A scores table of the manifest's rows, and how many ids of the file none of them has.

    Raises: UnmaskError where no id is there.
    """
    scores = [file.of(row) for row in rows]
    if all(score is None for score in scores):
        raise InputError(
            f"{file.name}: none of its {len(file.value):,} ids is the {file.by} of a chosen row, such as "
            f"{rows[0]['relpath' if file.by == 'file' else file.by]!r}"
        )
    done = [
        row
        | {"score": score, "probability": None, "state": "failed" if score is None else "scored"}
        | {"reason": f"no score in {file.name}" if score is None else ""}
        for row, score in zip(rows, scores, strict=True)
    ]
    columns = {f.name: pa.array([row[f.name] for row in done], f.type) for f in COLUMNS}
    known = {name for row in rows for name in file.ids(row)}
    return validate(pa.table(columns, schema=COLUMNS)), len(file.value.keys() - known)


def _one_of(path: Path, header: Sequence[str], wanted: tuple[str, ...]) -> str:
    there = [name for name in wanted if name in header]
    if len(there) != 1:
        raise InputError(f"{path} needs exactly one of the columns {', '.join(wanted)}; it has {', '.join(header)}")
    return there[0]


def _number(where: str, kind: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise InputError(f"{where}: the {kind} {text!r} is no number; leave rows without a score out") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: the {kind} is not finite; leave rows without a score out")
    if kind != "probability":
        return value
    if not 0 <= value <= 1:
        raise InputError(f"{where}: the probability {value:g} is outside 0..1; name the column logit or score")
    p = min(max(value, FLOOR), 1 - FLOOR)
    return math.log(p / (1 - p))
