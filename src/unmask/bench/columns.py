"""The rows of a table, by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from unmask.bench.scorers import FLOOR, Detector, Finished, Floor, Judge, Sides, same_detectors
from unmask.bench.trained import Taught, Trained
from unmask.bench.training import How, Steps, train_all
from unmask.bundles import load
from unmask.data.manifest import Manifest
from unmask.train.run import RECIPE
from unmask.types import UnmaskError


class Lineup:
    """Those who are compared, in order, and what each of them learns from."""

    def __init__(
        self, names: Sequence[str], manifest: Manifest, table: pa.Table, out: Path, seeds: Sequence[int] = ()
    ) -> None:
        """
        Args:
            out: where runs of recipes are kept.
            seeds: trainings of each recipe; empty = its own seed.
        Raises: UnmaskError for what is no detector, and for two of one name.
        """
        self.judges = [judge_of(name, manifest, table, out, seeds) for name in names]
        labels = [judge.label for judge in self.judges]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise UnmaskError(f"two detectors are called {twice[0]}: give each recipe a name of its own")
        self.labels = tuple(labels)

    def hashes(self, sides: Sequence[Sides], expected: Sequence[str] = ()) -> tuple[str, ...]:
        """One for each. Raises: UnmaskError where others are expected."""
        found = tuple(judge.digest(sides) for judge in self.judges)
        same_detectors(expected, found)
        return found

    def train(self, sides: Sequence[Sides], how: How, steps: Steps) -> None:
        """Every training that these columns ask for. Raises: UnmaskError naming those that failed."""
        train_all([run for judge in self.judges if isinstance(judge, Taught) for run in judge.runs(sides)], how, steps)

    def fit(self, sides: Sides) -> list[tuple[Detector, ...]]:
        """The detectors of each row; several where it was trained with several seeds."""
        return [judge.fit(sides) for judge in self.judges]

    def runs(self, sides: Sides) -> list[tuple[str, Path]]:
        """Name and run folder of those that have one; of several seeds the first."""
        return [(j.label, j.folders(sides)[0]) for j in self.judges if isinstance(j, Taught | Trained)]

    def notes(self) -> tuple[str, ...]:
        return tuple(note for judge in self.judges for note in judge.notes())


def is_recipe(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def judge_of(name: str, manifest: Manifest, table: pa.Table, out: Path, seeds: Sequence[int] = ()) -> Judge:
    """Raises: UnmaskError for what is no detector."""
    if name == FLOOR:
        return Floor(manifest, table)
    if is_recipe(name):
        return Taught(Path(name), manifest, table, out, seeds)
    if (Path(name) / RECIPE).is_file():
        return Trained(Path(name))
    return Finished(name, load(name))
