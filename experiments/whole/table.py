"""What the folds make of generators and cameras that they never saw, as Markdown.

python -m experiments.whole.table MATERIAL SCORES > docs/tables/whole-images.part.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.whole.baselines import Numbers, cross_validated, metadata, spectra
from experiments.whole.degrade import CONDITIONS
from experiments.whole.material import Row, read
from experiments.whole.score import ROUND_TRIP, Scored, read_scores
from experiments.whole.sources import MEASURED, PAIRS, fold_of
from unmask.measure.interval import Interval, bootstrap
from unmask.measure.metrics import auroc, share

ALARMS, FEW = 0.1, 20  # promised error rate; files of a source that say too little
AS_STORED = next(iter(CONDITIONS))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.whole.table", description=__doc__.splitlines()[0])
    parser.add_argument("material", type=Path)
    parser.add_argument("scores", type=Path)
    asked = parser.parse_args()
    folds = {path.stem: read_scores(path) for path in sorted(asked.scores.glob("*.csv"))}
    rows = read(asked.material / "measure.csv")
    tiles = np.load(asked.material / "measure.npy", mmap_mode="r")
    print("\n\n".join([held_out(folds, rows, tiles), alarms(folds), found(folds), trips(folds)]))


def held_out(folds: dict[str, Scored], rows: Sequence[Row], tiles: NDArray[np.uint8]) -> str:
    """AUROC of each pair of sets under each condition, by the fold that saw neither; the baselines beside it."""
    lines: list[Sequence[str]] = []
    means = np.zeros((len(CONDITIONS), 3))
    for name, pair in PAIRS.items():
        for k, condition in enumerate(CONDITIONS):
            of = folds[pair.fold]
            here = (of.condition == condition) & np.isin(of.source, pair.fake + pair.real)
            mine = bootstrap(auroc, of.label[here], of.score[here], of.group[here])
            chosen = [i for i, r in enumerate(rows) if r.note == condition and r.source in pair.fake + pair.real]
            files, x = spectra(rows, tiles, chosen)
            other = [baseline(files, x), baseline(files, metadata(files))]
            means[k] += [mine.value, *(one.value for one in other)]
            count = f"{int((of.label[here] == 0).sum())} / {int(of.label[here].sum())}"
            groups = str(len(set(of.group[here])))
            lines.append([name, condition, *map(shown, [mine, *other]), count, groups])
    for condition, mean in zip(CONDITIONS, means / len(PAIRS), strict=True):
        lines.append(["**mean**", condition, *(f"**{v:.3f}**" for v in mean), "", ""])
    return table(["sets", "condition", "detector", "spectrum", "metadata", "real / generated", "groups"], lines)


def baseline(files: Sequence[Row], x: Numbers) -> Interval:
    label = np.array([r.label == "fake" for r in files], np.int64)
    group = np.array([r.group for r in files])
    return bootstrap(auroc, label, cross_validated(x, label, group), group)


def thresholds(of: Scored, fold: str) -> tuple[float, float]:
    """Where a tenth of the real images of sources that the fold knows lie above: of their mixture, of the worst one."""
    known = (of.condition == AS_STORED) & (of.label == 0)
    known &= [s not in MEASURED and (fold == "A" or fold_of(s) != fold) for s in of.source]
    each = [of.score[known & (of.source == s)] for s in np.unique(of.source[known])]
    limit = [float(np.quantile(one, 1 - ALARMS)) for one in each if len(one) >= FEW]
    return float(np.quantile(np.concatenate(each), 1 - ALARMS)), max(limit)


def alarms(folds: dict[str, Scored]) -> str:
    """Real images of sources that a fold never saw and calls generated, worst first."""
    return shares(folds, 0, "real source", "real images")


def found(folds: dict[str, Scored]) -> str:
    """Generated images of kinds that a fold never saw and calls generated."""
    return shares(folds, 1, "generated images", "images")


def shares(folds: dict[str, Scored], label: int, what: str, files: str) -> str:
    lines: list[tuple[float, Sequence[str]]] = []
    for source in np.unique(folds["A"].source[(folds["A"].label == label) & (folds["A"].condition == AS_STORED)]):
        if not (fold := fold_of(source)):
            continue
        of = folds[fold]
        here = (of.source == source) & (of.condition == AS_STORED)
        if here.sum() < FEW:
            continue
        called = [
            bootstrap(share, of.label[here], (of.score[here] > limit).astype(float), of.group[here])
            for limit in thresholds(of, fold)
        ]
        lines.append((-called[0].value, [source, fold, *map(shown, called), str(int(here.sum()))]))
    return table(
        [what, "fold", "limit of the mixture", "limit of the worst source", files], [x for _, x in sorted(lines)]
    )


def trips(folds: dict[str, Scored]) -> str:
    """AUROC of round trips against the very crops they were made from, of sources that a fold never saw."""
    lines = []
    for source in np.unique(folds["A"].source[folds["A"].condition == ROUND_TRIP]):
        if not (fold := fold_of(source)):
            continue
        of = folds[fold]
        here = (of.source == source) & (of.condition == ROUND_TRIP)
        kind, _, origin = source.partition("@")
        value = bootstrap(auroc, of.label[here], of.score[here], of.group[here])
        lines.append([kind, origin, fold, shown(value), str(int(here.sum()) // 2)])
    return table(["decoder", "real source", "fold", "AUROC", "pairs"], lines)


def shown(one: Interval) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


if __name__ == "__main__":
    main()
