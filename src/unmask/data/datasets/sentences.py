"""Your own sentences: a text file with one a line, a CSV or TSV, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._files import read_lines
from unmask.data.datasets._sentences import sentence, table
from unmask.data.manifest import SentenceRow, Split
from unmask.errors import ManifestError
from unmask.types import Plain

CARD = DataCard(
    title="Your own sentences: text, CSV, TSV or JSON lines",
    paper="none",
    access="your own file; columns or keys text, other, negative, score, split, group, of which text is needed",
    terms="your own",
    layout="distributor",
    splits="the column `split`; none without it",
    traps=("equal sentences are one leakage group, unless `group` says otherwise",),
)
ROW = SentenceRow


class _Line(Plain):
    text: str
    other: str = ""
    negative: str = ""
    score: float | None = None
    split: Split | None = None
    group: str = ""


def rows(root: Path) -> Iterator[SentenceRow | Problem]:
    """Raises: UnmaskError that names the line, and the column or key that does not fit."""
    if not root.is_file():
        raise ManifestError(f"{root} is no file: name the table of sentences itself")
    for number, values in _values(root):
        try:
            line = _Line.model_validate({k: v for k, v in values.items() if v not in ("", None)} | _text(values))
        except ValidationError as error:
            first = error.errors()[0]
            raise ManifestError(f"{root}, line {number}, {first['loc'][0]}: {first['msg']}") from None
        about = line.model_dump(exclude={"text"})
        yield sentence(root.stem, str(number), line.text, source=root.name, **about)


def _text(values: dict[str, object]) -> dict[str, object]:
    return {"text": values["text"]} if "text" in values else {}


def _values(root: Path) -> Iterator[tuple[int, dict[str, object]]]:
    if root.suffix in (".csv", ".tsv"):
        for number, row in enumerate(table(root, "\t" if root.suffix == ".tsv" else ","), 2):
            yield number, dict(row)
        return
    for number, text in read_lines(root):
        if root.suffix not in (".jsonl", ".ndjson"):
            yield number, {"text": text}
            continue
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise ManifestError(f"{root}, line {number} is no JSON object")
        yield number, values
