"""What an attack did to a detector, as numbers: arrays in, rows of a table out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unmask.measure.interval import Interval, bootstrap, wilson
from unmask.measure.metrics import auroc
from unmask.output import write_text
from unmask.types import Plain

Float64s = NDArray[np.float64]
ALL = "all"


@dataclass(frozen=True)
class Outcome:
    """An attack at one budget on F fakes. Log-odds are raw, each (F,), as the bundle's own runtime gives them.

    Attributes:
        attacked: of the attacked images, as an 8-bit file holds them.
        noised: of the same images under random noise of the same norm.
        jpeg: of the attacked images after JPEG of quality 75.
        norm: (F,) how far each image moved, in the attack's norm.
        queries: forward passes for one image, on average.
    """

    attack: str
    budget: str
    attacked: Float64s
    noised: Float64s
    jpeg: Float64s
    norm: Float64s
    queries: float


@dataclass(frozen=True)
class Subject:
    """Who is attacked: R reals as they are and F fakes. `*_group`: leakage groups; `threshold`: fake from here on."""

    real: Float64s
    fake: Float64s
    real_group: NDArray[Any]
    fake_group: NDArray[Any]
    threshold: float

    def of(self, reals: NDArray[np.bool_], fakes: NDArray[np.bool_]) -> Subject:
        """Some of them."""
        return Subject(
            self.real[reals], self.fake[fakes], self.real_group[reals], self.fake_group[fakes], self.threshold
        )

    def auroc(self, fake: Float64s, rounds: int) -> Interval:
        """Of these scores of the fakes against the reals, with whole groups drawn."""
        label = np.r_[np.zeros(len(self.real), int), np.ones(len(fake), int)]
        groups = np.r_[self.real_group, self.fake_group]
        return bootstrap(auroc, label, np.r_[self.real, fake], groups, rounds)


@dataclass(frozen=True)
class Row:
    """A line of the table. `*_low`, `*_high`: 95 % intervals. Rates are of the fakes that were found when untouched."""

    attack: str
    budget: str
    group: str
    real: int
    fake: int
    found: int
    clean_auroc: float
    auroc: float
    auroc_low: float
    auroc_high: float
    evasion: float
    evasion_low: float
    evasion_high: float
    noise: float
    jpeg: float
    jpeg_low: float
    jpeg_high: float
    norm_to_flip: float
    queries: float


def row(subject: Subject, outcome: Outcome, norm_to_flip: float, group: str = ALL, rounds: int = 1000) -> Row:
    """
    Evasion: the share of found fakes that pass as real once attacked; noise: after noise of the same norm; jpeg: after
    the attack and JPEG 75. Intervals: Wilson's; of the AUROC a bootstrap of whole groups.
    """
    found = subject.fake >= subject.threshold
    n = int(found.sum())

    def passing(score: Float64s) -> Interval:
        return wilson(int((score[found] < subject.threshold).sum()), n)

    area, evasion, jpeg = subject.auroc(outcome.attacked, rounds), passing(outcome.attacked), passing(outcome.jpeg)
    clean = auroc(np.r_[np.zeros(len(subject.real)), np.ones(len(subject.fake))], np.r_[subject.real, subject.fake])
    return Row(
        attack=outcome.attack,
        budget=outcome.budget,
        group=group,
        real=len(subject.real),
        fake=len(subject.fake),
        found=n,
        clean_auroc=clean,
        auroc=area.value,
        auroc_low=area.low,
        auroc_high=area.high,
        evasion=evasion.value,
        evasion_low=evasion.low,
        evasion_high=evasion.high,
        noise=passing(outcome.noised).value,
        jpeg=jpeg.value,
        jpeg_low=jpeg.low,
        jpeg_high=jpeg.high,
        norm_to_flip=norm_to_flip,
        queries=outcome.queries,
    )


def median_to_flip(subject: Subject, outcomes: Sequence[Outcome]) -> float:
    """Median over the found fakes of the smallest distance at which one passed as real; infinite if most never did."""
    found = subject.fake >= subject.threshold
    if not found.any():
        return float("nan")
    least = [np.where(o.attacked[found] < subject.threshold, o.norm[found], np.inf) for o in outcomes]
    return float(np.median(np.min(least, 0)))


class RedTeam(Plain):
    """What `unmask attack` found, with all that is needed to find it again."""

    schema_: Literal["unmask.attack/1"] = "unmask.attack/1"
    detector: str
    bundle: str
    runtime: str
    gradients: str
    data: str
    threshold: float
    rows: tuple[Row, ...]
    units: dict[str, str]
    seed: int
    rounds: int
    subset: str
    rebuild: str

    def notes(self) -> Iterator[str]:
        """What a reader must know to believe the numbers."""
        yield (
            f"Detector {self.detector} ({self.bundle}), scored by {self.runtime}; gradients: {self.gradients}. Only "
            "fakes are attacked; reals stay as they are. Found = called fake when untouched, at a log-odds of "
            f"{self.threshold:.3f}."
        )
        yield (
            "Every attacked image was rounded to 8 bits before it was scored. Noise: random noise of the same norm. "
            f"95% intervals: Wilson's for rates, {self.rounds:,} resamples of whole groups for AUROC. Seed {self.seed}."
        )
        if self.subset:
            yield self.subset
        yield f"Data {self.data}."


def write(found: RedTeam, folder: Path) -> None:
    """`result.json`, `table.md` and `numbers.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "result.json", found.model_dump_json(by_alias=True, indent=1))
    write_text(folder / "table.md", markdown(found))
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(r) for r in found.rows)
    write_text(folder / "numbers.csv", out.getvalue())


HEAD = (
    "attack", "budget", "group", "found", "clean AUROC", "attacked AUROC", "evasion", "noise", "after JPEG 75",
    "median to flip", "queries",
)  # fmt: skip


def cells(r: Row, unit: str) -> tuple[str, ...]:
    """One row in words, in the order of HEAD."""
    flip = "not reached" if math.isinf(r.norm_to_flip) else number(r.norm_to_flip, unit)
    return (
        r.attack,
        r.budget,
        r.group,
        f"{r.found} of {r.fake}",
        f"{r.clean_auroc:.3f}",
        f"{r.auroc:.3f} [{r.auroc_low:.3f}, {r.auroc_high:.3f}]",
        f"{r.evasion:.2f} [{r.evasion_low:.2f}, {r.evasion_high:.2f}]",
        f"{r.noise:.2f}",
        f"{r.jpeg:.2f} [{r.jpeg_low:.2f}, {r.jpeg_high:.2f}]",
        flip,
        f"{r.queries:,.0f}",
    )


def number(value: float, unit: str) -> str:
    """A distance in the words of its unit: "3.0/255", "1.25"."""
    return "–" if math.isnan(value) else f"{value * 255:.1f}/255" if unit == "linf" else f"{value:.3g}"


def markdown(found: RedTeam) -> str:
    """The table, its notes and the command that gives it again."""
    lines = [f"# Attacks on {found.detector}", "", "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += ["| " + " | ".join(cells(r, found.units[r.attack])) + " |" for r in found.rows]
    lines += ["", *(f"- {n}" for n in found.notes()), "", "Rebuild:", "", "```bash", found.rebuild, "```", ""]
    return "\n".join(lines)
