"""What the layouts of sentences share: one row for a sentence, a pair or a triplet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from unmask.data.adapter import Problem
from unmask.data.manifest import SentenceRow, Split
from unmask.errors import ManifestError

csv.field_size_limit(1 << 20)


def sentence(
    dataset: str,
    number: str,
    text: str,
    *,
    other: str = "",
    negative: str = "",
    score: float | None = None,
    group: str = "",
    split: Split | None = None,
    source: str = "",
) -> SentenceRow | Problem:
    """A row; what stands twice in a set under one number is the caller's to see.

    Args:
        number: of the line, unique in the set.
        group: leakage group; the sentence itself where nothing is known, so that its copies stay on one side.
    """
    said, second, third = (" ".join(t.split()) for t in (text, other, negative))
    if not said:
        return Problem(number, "empty", "no sentence")
    return SentenceRow(
        dataset=dataset,
        item_id=f"{dataset}/{number}",
        relpath="",
        group_id=f"{dataset}/{group or said}",
        text=said,
        other=second,
        negative=third,
        score=score,
        split=split,
        split_source=source if split else "",
    )


def table(path: Path, delimiter: str, columns: Sequence[str] = (), quoted: bool = True) -> Iterator[dict[str, str]]:
    """The lines of a table by column.

    Args:
        columns: names of its columns, where the first line does not say them; further cells are left out.
        quoted: whether a quotation mark quotes; STS-B's are part of sentences.
    Raises: UnmaskError for a file that is no such table.
    """
    how = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, quoting=how)  # type: ignore[arg-type]
            names = list(columns) or [c.strip().lower() for c in next(reader, [])]
            for line in reader:
                if line and len(line) < len(names):
                    raise ManifestError(f"{path}, line {reader.line_num} has {len(line)} cells, not {len(names)}")
                if line:
                    yield dict(zip(names, line, strict=False))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} is not a table in UTF-8 ({error}); fetch it from the set again") from None
