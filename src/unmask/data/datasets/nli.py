"""Triplets of natural language inference: a premise, what follows from it, and what contradicts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._sentences import sentence, table
from unmask.data.manifest import SentenceRow
from unmask.errors import ManifestError

CARD = DataCard(
    title="NLI triplets (SNLI and MultiNLI)",
    paper="Bowman et al., EMNLP 2015, arXiv 1508.05326; Williams et al., NAACL 2018; SimCSE, arXiv 2104.08821",
    access="princeton-nlp/datasets-for-simcse: nli_for_simcse.csv; or a CSV or TSV with anchor, positive and negative",
    terms="SNLI CC BY-SA 4.0, MultiNLI mostly OANC's (both from memory)",
    layout="third-party loader",
    splits="none: derive them; rows of one premise are one leakage group",
    unverified=("columns sent0, sent1, hard_neg, from memory",),
    traps=("what a model learns from these is supervised: people labelled the pairs",),
)
ROW = SentenceRow
NAMES = (("sent0", "sent1", "hard_neg"), ("anchor", "positive", "negative"))


def rows(root: Path) -> Iterator[SentenceRow | Problem]:
    """Triplets of a table, or of each table in a folder. Raises: UnmaskError for other columns."""
    found = [root] if root.is_file() else sorted(p for p in root.glob("*") if p.suffix in (".csv", ".tsv"))
    if not found:
        yield Problem(".", "missing", "nli_for_simcse.csv")
    for path in found:
        for number, line in enumerate(table(path, "\t" if path.suffix == ".tsv" else ",")):
            names = next((n for n in NAMES if set(n) <= line.keys()), None)
            if names is None:
                raise ManifestError(
                    f"{path} has the columns {', '.join(line)}, not {' or '.join(map(', '.join, NAMES))}"
                )
            text, other, negative = (line[name] for name in names)
            yield sentence("NLI", f"{path.stem}/{number}", text, other=other, negative=negative)
