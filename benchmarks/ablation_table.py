"""The ablation's table: means over seeds, how far they could be off, and the seeds in which a claim does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import t as student

from unmask.measure.interval import joint
from unmask.measure.metrics import auroc
from unmask.measure.units import units

ROUNDS = 1000


@dataclass(frozen=True)
class Scored:
    """Test videos and images of one run, one score each; arrays (N,)."""

    label: NDArray[np.int64]
    score: NDArray[np.float64]
    group: NDArray[Any]
    dataset: NDArray[Any]
    method: NDArray[Any]

    @classmethod
    def of(cls, table: pa.Table) -> Scored:
        u = units(table, "video")
        return cls(u.label, u.score, u.group, u.dataset, u.method)

    def on(self, dataset: str, method: str | None = None) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any]]:
        """A part for `joint`: AUROC, labels, scores, groups."""
        keep = (self.dataset == dataset) & ((self.label == 0) | (method is None) | (self.method == method))
        return auroc, self.label[keep], self.score[keep], self.group[keep]


Found = Mapping[tuple[str, int], Scored]


def text(
    found: Found,
    arms: Sequence[str],
    claims: Sequence[tuple[str, str]],
    seen: str,
    unseen: str,
    rates: Mapping[str, float],
) -> str:
    """Three Markdown tables: AUROC of all arms, of each forgery, and the claims."""
    seeds = sorted({seed for _, seed in found})
    one = found[arms[0], seeds[0]]
    made = sorted(set(one.method[(one.dataset == unseen) & (one.label == 1)]))
    lines = [f"| | {seen}, unseen people | {unseen}, unseen forgeries |", "|---|---|---|"]
    lines += [f"| {arm} | {_cell(found, arm, seen, seeds)} | {_cell(found, arm, unseen, seeds)} |" for arm in arms]
    lines += ["", f"| | {' | '.join(made)} |", "|---" * (len(made) + 1) + "|"]
    for arm in arms:
        means = [np.mean([_auroc(found[arm, s].on(unseen, m)) for s in seeds]) for m in made]
        lines.append(f"| {arm} | {' | '.join(f'{100 * m:.1f}' for m in means)} |")
    lines += ["", f"| claim | {seen} | does not hold in | {unseen} | does not hold in |", "|---" * 5 + "|"]
    for better, worse in claims:
        cells = [_claim(found, better, worse, where, seeds) for where in (seen, unseen)]
        lines.append(f"| {better} > {worse} | {' | '.join(cells)} |")
    lines += ["", "Learning rates: " + ", ".join(f"{family} {rate:g}" for family, rate in rates.items())]
    return "\n".join(lines) + "\n"


def _auroc(part: tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any]]) -> float:
    return float(part[0](part[1], part[2]))


def _cell(found: Found, arm: str, dataset: str, seeds: Sequence[int]) -> str:
    """Mean [interval over groups], +- half the 95 % t interval over seeds; in percent."""
    values, drawn = joint([found[arm, s].on(dataset) for s in seeds], ROUNDS)
    low, high = np.nanquantile(drawn.mean(1), [0.025, 0.975])
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] ±{100 * _half(values):.1f}"


def _claim(found: Found, better: str, worse: str, dataset: str, seeds: Sequence[int]) -> str:
    parts = [found[arm, s].on(dataset) for arm in (better, worse) for s in seeds]
    values, drawn = joint(parts, ROUNDS)
    n = len(seeds)
    each = values[:n] - values[n:]
    low, high = np.nanquantile(drawn[:, :n].mean(1) - drawn[:, n:].mean(1), [0.025, 0.975])
    not_in = ", ".join(str(s) for s, d in zip(seeds, each, strict=True) if d <= 0)
    shown = f"{100 * each.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] ±{100 * _half(each):.1f}"
    return f"{shown} | {'seed ' + not_in if not_in else 'no seed'}"


def _half(values: NDArray[np.float64]) -> float:
    """Half the width of the 95 % t interval of a mean over seeds; NaN for one."""
    n = len(values)
    return float(student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
