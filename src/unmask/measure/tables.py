"""A bench result as terminal text, Markdown, LaTeX, CSV and HTML: one table a metric, a row a detector."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from unmask.errors import InputError
from unmask.measure.cells import FEW_GROUPS, Cell
from unmask.measure.protocol import BY_THRESHOLD, Metric, Protocol
from unmask.types import Plain

FILE = "result.json"
NAMES: dict[Metric, str] = {
    "auroc": "AUROC",
    "eer": "EER",
    "eer_vertex": "EER, DeepfakeBench's vertex rule",
    "average_precision": "average precision",
    "partial_auc": "partial AUROC up to 10 % false alarms, standardised",
    "tpr_at_fpr_1": "fakes found at 1 % false alarms",
    "tpr_at_fpr_5": "fakes found at 5 % false alarms",
    "tpr_at_fpr_10": "fakes found at 10 % false alarms",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "log_loss": "log loss",
    "cllr": "Cllr, cost of the log likelihood ratio in bits",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "hter": "HTER",
    "f1": "F1",
    "false_alarms": "false alarms",
    "pair_order": "pairs in the right order",
}


class Result(Plain):
    """What `unmask eval bench` found, with all that is needed to find it again."""

    schema_: Literal["unmask.bench/1"] = "unmask.bench/1"
    protocol: Protocol
    cells: tuple[Cell, ...]
    data: str
    detectors: tuple[str, ...]
    bundles: tuple[str, ...]
    rebuild: str
    trained: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        cells: Sequence[Cell],
        data: str,
        detectors: Sequence[str],
        bundles: Sequence[str],
        again: str,
        trained: Sequence[str] = (),
    ) -> Result:
        """`trained`: a sentence on each detector that was trained for this table."""
        return cls(
            protocol=protocol,
            cells=tuple(cells),
            data=data,
            detectors=tuple(detectors),
            bundles=tuple(bundles),
            rebuild=again,
            trained=tuple(trained),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.column for c in self.cells))

    def at(self, detector: str, column: str, metric: Metric) -> Cell:
        return next(c for c in self.cells if (c.detector, c.column, c.metric) == (detector, column, metric))

    def notes(self) -> Iterator[str]:
        """What a reader must know to believe the numbers."""
        p = self.protocol
        yield (
            f"Level {p.level}, {p.pooling} of the raw logits; {p.interval.level:.0%} intervals from "
            f"{p.interval.rounds:,} resamples of whole leakage groups, seed {p.interval.seed}. Bold: better than the "
            f"second best, by the paired interval of their difference on the same resamples; never with fewer than "
            f"{FEW_GROUPS} groups."
        )
        yield "Detectors are finished, or trained on the protocol's training rows; test rows choose nothing."
        yield from self.trained
        if any(c.seeds > 1 for c in self.cells):
            yield (
                "Several seeds: the mean over them. Its interval holds the trained weights as they are and draws "
                "people; in round brackets the least and the greatest of the seeds. Bold asks also that each seed is "
                "better than each of the second best."
            )
        if set(BY_THRESHOLD) & set(p.metrics):
            yield f"Thresholds: rule {p.threshold.rule} on the validation rows."
        for column in self.columns:
            c = self.at(self.detectors[0], column, p.metrics[0])
            failed = f", {c.failed} more without a scored crop left out" if c.failed else ""
            yield f"{column}: {c.real} real, {c.fake} fake, {c.groups} leakage groups{failed}."
        yield (
            f"Data {self.data}; "
            + ", ".join(f"{d} {h}" for d, h in zip(self.detectors, self.bundles, strict=True))
            + "."
        )


def write(result: Result, folder: Path) -> None:
    """`result.json` and the tables as `table.md`, `.tex`, `.csv` and `.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {
        FILE: result.model_dump_json(by_alias=True, indent=1),
        "table.md": markdown(result),
        "table.tex": latex(result),
        "table.csv": comma_separated(result),
        "table.html": page(result),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def read(folder: Path) -> Result:
    """Raises: UnmaskError, if `folder` is no output of `unmask eval bench`."""
    try:
        return Result.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{folder} is no output of `unmask eval bench`: {str(error).splitlines()[0]}") from None


def words(c: Cell) -> str:
    """ "0.888 [0.860, 0.918]", or a dash and why; of several seeds also the extremes, "(0.871–0.901)"."""
    if c.value is None:
        return f"– ({c.why})"
    seeds = f" ({c.least:.3f}–{c.most:.3f})" if c.seeds > 1 else ""
    return f"{c.value:.3f} [{c.low:.3f}, {c.high:.3f}]{seeds}"


def rich_tables(result: Result) -> Iterator[Table]:
    for metric in result.protocol.metrics:
        table = Table(
            "detector", *result.columns, title=f"{result.protocol.title}: {NAMES[metric]}", title_justify="left"
        )
        for d in result.detectors:
            found = [result.at(d, c, metric) for c in result.columns]
            table.add_row(d, *(Text(words(c), "bold" if c.best else "") for c in found))
        yield table


def markdown(result: Result) -> str:
    def bar(text: str) -> str:
        return text.replace("|", "\\|")

    lines = [f"# {result.protocol.title}", "", result.protocol.about, ""]
    for metric in result.protocol.metrics:
        lines += [f"## {NAMES[metric]}", "", "| detector | " + " | ".join(map(bar, result.columns)) + " |"]
        lines.append("|---" * (1 + len(result.columns)) + "|")
        for d in result.detectors:
            found = [result.at(d, c, metric) for c in result.columns]
            cells = [f"**{words(c)}**" if c.best else words(c) for c in found]
            lines.append(f"| {bar(d)} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [f"- {n}" for n in result.notes()]
    return "\n".join([*lines, "", "Rebuild:", "", "```bash", result.rebuild, "```", ""])


def latex(result: Result) -> str:
    """For `booktabs`; the notes stand as comments."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: f"\\{c}" for c in "&%$#_{}"}

    def safe(text: str) -> str:
        return "".join(special.get(c, c) for c in text).replace("–", "--")

    lines = [f"% {n}" for n in (*result.notes(), result.rebuild)]
    for metric in result.protocol.metrics:
        lines += [rf"% {NAMES[metric]}", rf"\begin{{tabular}}{{l{'c' * len(result.columns)}}}", r"\toprule"]
        lines += [" & ".join(["detector", *map(safe, result.columns)]) + r" \\", r"\midrule"]
        for d in result.detectors:
            found = [result.at(d, c, metric) for c in result.columns]
            cells = [rf"\textbf{{{safe(words(c))}}}" if c.best else safe(words(c)) for c in found]
            lines.append(" & ".join([safe(d), *cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, ""])


def comma_separated(result: Result) -> str:
    """One line a cell, all digits."""
    out = io.StringIO()
    rows = [asdict(c) for c in result.cells]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def html_tables(result: Result) -> str:
    """The tables alone, every text escaped; `data-sort` carries the number."""
    e, parts = html.escape, []
    for metric in result.protocol.metrics:
        head = "".join(f'<th scope="col">{e(c)}</th>' for c in ("detector", *result.columns))
        parts.append(f"<table><caption>{e(NAMES[metric])}</caption><thead><tr>{head}</tr></thead><tbody>")
        for d in result.detectors:
            parts.append(f'<tr><th scope="row">{e(d)}</th>')
            for c in (result.at(d, column, metric) for column in result.columns):
                text = f"<strong>{e(words(c))}</strong>" if c.best else e(words(c))
                parts.append(f'<td data-sort="{"" if c.value is None else c.value}">{text}</td>')
            parts.append("</tr>")
        parts.append("</tbody></table>")
    return "".join(parts)


def page(result: Result) -> str:
    e = html.escape
    notes = "".join(f"<li>{e(n)}</li>" for n in result.notes())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{e(result.protocol.title)}</title>'
        f"<h1>{e(result.protocol.title)}</h1><p>{e(result.protocol.about)}</p>{html_tables(result)}<ul>{notes}</ul>"
        f"<pre>{e(result.rebuild)}</pre></html>\n"
    )
