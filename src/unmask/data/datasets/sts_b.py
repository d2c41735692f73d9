"""STS-B: pairs of sentences, and how alike people found them, 0 to 5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._sentences import sentence, table
from unmask.data.manifest import SentenceRow, Split
from unmask.errors import ManifestError

CARD = DataCard(
    title="Semantic textual similarity benchmark (STS-B)",
    paper="Cer et al., SemEval 2017, arXiv 1708.00055",
    access="ixa2.si.ehu.eus/stswiki: Stsbenchmark.tar.gz (sts-train.csv, sts-dev.csv, sts-test.csv)",
    terms="CC BY-SA 4.0 (from memory); parts under the terms of their sources",
    layout="third-party loader",
    splits="official, by file",
    unverified=("columns: genre, file, year, number, score, two sentences, and for some two sources; from memory",),
    traps=("the files are separated by tabs in spite of their suffix", "quotation marks are part of sentences"),
)
ROW = SentenceRow
COLUMNS = ("genre", "file", "year", "number", "score", "text", "other")
FILES: tuple[tuple[str, Split], ...] = (("train", "train"), ("dev", "val"), ("test", "test"))


def rows(root: Path) -> Iterator[SentenceRow | Problem]:
    """Raises: UnmaskError for a score that is no number."""
    for name, split in FILES:
        path = root / f"sts-{name}.csv"
        if not path.is_file():
            yield Problem(path.name, "missing", "not in the folder")
            continue
        for number, line in enumerate(table(path, "\t", COLUMNS, quoted=False)):
            try:
                score = float(line["score"])
            except ValueError:
                raise ManifestError(f"{path}, pair {number}: the score is {line['score']!r}, no number") from None
            yield sentence(
                "STS-B",
                f"{name}/{number}",
                line["text"],
                other=line["other"],
                score=score,
                split=split,
                source=path.name,
            )
