"""What was measured of explanations, crop by crop, and the table of it: means, intervals, differences to baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unmask.measure.interval import Difference, Interval, bootstrap, paired
from unmask.measure.metrics import share
from unmask.types import Plain

NOISE, CENTRE = "noise", "centre prior"
Name = Literal["pointing", "mass", "rank", "deletion", "insertion", "infidelity", "randomised"]
LEAST = 5  # leakage groups, below which no interval is given
# Name -> its title, and whether a higher value is better.
METRICS: dict[Name, tuple[str, bool]] = {
    "pointing": ("pointing game", True),
    "mass": ("relevance mass", True),
    "rank": ("relevance rank", True),
    "deletion": ("deletion area", False),
    "insertion": ("insertion area", True),
    "infidelity": ("infidelity", False),
    "randomised": ("correlation with random weights", False),
}
LOCALISES: tuple[Name, ...] = ("pointing", "mass")  # both must beat the centre prior before a map is shown


class Quality(Plain):
    """Of one map of one crop; None where it is not defined, or was not asked for."""

    pointing: float
    mass: float
    rank: float
    deletion: float
    insertion: float
    infidelity: float | None
    randomised: float | None = None
    seconds: float


class Line(Plain):
    """One forged crop. `score`: log-odds of the crop; `area`: share of it that was forged."""

    item: str
    group: str
    method: str
    score: float
    detected: bool
    area: float
    maps: dict[str, Quality]


@dataclass(frozen=True)
class Entry:
    """One explainer: a mean with its interval for each metric, and how much better it is than the centre prior."""

    explainer: str
    crops: int
    means: dict[Name, Interval]
    over_centre: dict[Name, Difference]  # > 0 is better, whatever the metric
    seconds: float  # of one map, the median

    @property
    def localises(self) -> bool:
        """Whether the whole interval of both differences lies above 0."""
        return all(name in self.over_centre and self.over_centre[name].low > 0 for name in LOCALISES)


def entries(lines: Sequence[Line], rounds: int = 1000) -> list[Entry]:
    """One for each explainer, baselines last; intervals draw whole leakage groups."""
    names = list(lines[0].maps) if lines else []
    return [_entry(name, lines, rounds) for name in names]


def markdown(found: Sequence[Entry]) -> str:
    """The table; a difference to the centre prior stands below its value, + is better."""
    titles = [title + (" ↑" if up else " ↓") for title, up in METRICS.values()]
    rows = ["| explainer | " + " | ".join(titles) + " | seconds |", "|" + "---|" * (len(titles) + 2)]
    for entry in found:
        cells = [_cell(entry, name) for name in METRICS]
        rows.append(f"| {entry.explainer} | " + " | ".join(cells) + f" | {entry.seconds:.2g} |")
    return "\n".join(rows) + "\n"


def _entry(name: str, lines: Sequence[Line], rounds: int) -> Entry:
    means: dict[Name, Interval] = {}
    over: dict[Name, Difference] = {}
    for metric, (_, higher) in METRICS.items():
        both = [(_value(line, name, metric), _value(line, CENTRE, metric), line.group) for line in lines]
        own = [(v, group) for v, _, group in both if v is not None]
        if own:
            values, groups = zip(*own, strict=True)
            means[metric] = bootstrap(share, np.zeros(len(values), int), values, groups, rounds)
        pairs = [(v, c, group) for v, c, group in both if v is not None and c is not None]
        if pairs and name not in (CENTRE, NOISE):
            values, centre, groups = zip(*pairs, strict=True)
            first, second = (values, centre) if higher else (centre, values)
            over[metric] = paired(share, np.zeros(len(pairs), int), first, second, groups, rounds)
    seconds = float(np.median([line.maps[name].seconds for line in lines]))
    return Entry(name, len(lines), means, over, seconds)


def _value(line: Line, name: str, metric: Name) -> float | None:
    value: float | None = getattr(line.maps[name], metric)
    return value


def _cell(entry: Entry, metric: Name) -> str:
    if metric not in entry.means:
        return ""
    mean = entry.means[metric]
    if mean.groups < LEAST:
        return f"{mean.value:.2f} ({mean.groups} {'group' if mean.groups == 1 else 'groups'})"
    text = f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]"
    if metric in entry.over_centre:
        d = entry.over_centre[metric]
        text += f"; {d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"
    return text
