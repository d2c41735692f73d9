"""Severity curves as Markdown, CSV and JSON: for each data set one table, a row a detector and kind of corruption."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Literal

from unmask.measure.robustness import ALL, CLEAN, Boxes, Number, Suite
from unmask.types import Plain

METRICS = {
    "end_to_end": "AUROC, a pair with a lost face counting as a coin toss",
    "auroc": "AUROC",
    "false_alarms": "False alarms at the threshold of clean validation rows",
    "misses": "Missed fakes at that threshold",
    "lost_fake": "Fakes without a face",
    "lost_real": "Reals without a face",
}


class Stress(Plain):
    """What `unmask eval robustness` found, with all that is needed to find it again."""

    schema_: Literal["unmask.stress/1"] = "unmask.stress/1"
    preset: str
    boxes: Boxes
    suites: tuple[Suite, ...]
    detectors: tuple[str, ...]
    bundles: tuple[str, ...]
    data: str
    codec: str
    rounds: int
    seed: int
    subset: str
    rebuild: str
    trained: tuple[str, ...] = ()

    def notes(self) -> Iterator[str]:
        """What a reader must know to believe the numbers."""
        way = "the clean frame's boxes" if self.boxes == "reuse" else "faces found anew in the corrupted frame"
        yield (
            f"Preset {self.preset}, {way}; corruption before the face is cut. Clips: mean of the raw logits of their "
            f"scored frames. 95% intervals: {self.rounds:,} resamples of whole leakage groups, the same for all "
            f"levels. Seed {self.seed}."
        )
        if self.subset:
            yield f"A subset: {self.subset}."
        if self.codec:
            yield f"Codecs: {self.codec}; videos were encoded whole, stills as a video of one frame."
        for s in self.suites:
            clean = next(n for n in s.numbers if n.kind == CLEAN)
            items = f"{clean.real} real, {clean.fake} fake, {clean.groups} groups"
            yield f"{clean.dataset}, {clean.detector}: {items}{_said(s)}."
        yield from self.trained
        yield (
            f"Data {self.data}; "
            + ", ".join(f"{d} {h}" for d, h in zip(self.detectors, self.bundles, strict=True))
            + "."
        )


def _said(s: Suite) -> str:
    said = f"; worst {s.worst} (in {s.sure:.0%} of the resamples)" if s.worst else ""
    if s.rises:
        said += "; rises at " + ", ".join(f"{k} {level}" for k, level in s.rises)
    return said + (f"; {', '.join(s.idle)} changed no score" if s.idle else "")


def write(found: Stress, folder: Path) -> None:
    """`result.json`, `table.md` and `numbers.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(found.model_dump_json(by_alias=True, indent=1), "utf-8")
    (folder / "table.md").write_text(markdown(found), "utf-8")
    (folder / "numbers.csv").write_text(comma_separated(found), "utf-8")


def markdown(found: Stress) -> str:
    """The tables; metrics without a value are left out, and lost faces where none is lost."""
    lines = [f"# Severity curves: {found.preset}, boxes: {found.boxes}", ""]
    for dataset in dict.fromkeys(s.numbers[0].dataset for s in found.suites):
        lines += [f"## {dataset}", ""]
        for metric, title in METRICS.items():
            rows = [n for s in found.suites for n in s.numbers if n.dataset == dataset and n.metric == metric]
            if metric == "auroc" and found.boxes == "reuse":
                continue  # the same as end to end, but for what the clean search lost
            if all(math.isnan(n.value) for n in rows) or (metric.startswith("lost") and not any(n.value for n in rows)):
                continue
            lines += [f"### {title}", "", *_table(rows), ""]
    lines += [f"- {n}" for n in found.notes()]
    return "\n".join([*lines, "", "Rebuild:", "", "```bash", found.rebuild, "```", ""])


def _table(rows: list[Number]) -> Iterator[str]:
    at = {(n.detector, n.kind, n.level): n for n in rows}
    levels = sorted({n.level for n in rows if n.level.isdigit() and n.level != "0"})
    ends = ("mean", "area", "fall")
    yield "| detector | corruption | " + " | ".join([*levels, *ends]) + " |"
    yield "|---" * (2 + len(levels) + len(ends)) + "|"
    for detector in dict.fromkeys(n.detector for n in rows):
        yield f"| {detector} | none | {words(at[detector, CLEAN, '0'])} |" + " |" * (len(levels) + len(ends) - 1)
        for kind in dict.fromkeys(n.kind for n in rows if n.kind != CLEAN):
            cells = [at.get((detector, kind, level)) for level in [*levels, *ends]]
            name = f"**{kind}**" if kind == ALL else kind
            yield f"| {detector} | {name} | " + " | ".join("" if c is None else words(c) for c in cells) + " |"


def words(n: Number) -> str:
    """ "0.888 [0.860, 0.918]", or a dash."""
    if math.isnan(n.value):
        return "–"
    return f"{n.value:.3f}" + ("" if math.isnan(n.low) else f" [{n.low:.3f}, {n.high:.3f}]")


def comma_separated(found: Stress) -> str:
    """One line a number, all digits, all metrics."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Number)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(n) for s in found.suites for n in s.numbers)
    return out.getvalue()
