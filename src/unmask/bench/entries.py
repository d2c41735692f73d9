"""The rows of a table, by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from unmask.bench.scorers import BASELINE, BundleEntry, Entry, FittedScorer, Sides, SpectrumBaseline, expect_detectors
from unmask.bench.trained import TrainedRecipe, TrainedRun
from unmask.bench.training import How, Steps, train_all
from unmask.bundles import load
from unmask.data.manifest import Manifest
from unmask.errors import InputError
from unmask.train.run import RECIPE


class Entries:
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
        self.entries = [entry_of(name, manifest, table, out, seeds) for name in names]
        labels = [scorer.label for scorer in self.entries]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise InputError(f"two detectors are called {twice[0]}: give each recipe a name of its own")
        self.labels = tuple(labels)

    def hashes(self, sides: Sequence[Sides], expected: Sequence[str] = ()) -> tuple[str, ...]:
        """One for each. Raises: UnmaskError where others are expected."""
        found = tuple(scorer.digest(sides) for scorer in self.entries)
        expect_detectors(expected, found)
        return found

    def train(self, sides: Sequence[Sides], how: How, steps: Steps) -> None:
        """Every training that these columns ask for. Raises: UnmaskError naming those that failed."""
        train_all(
            [run for scorer in self.entries if isinstance(scorer, TrainedRecipe) for run in scorer.runs(sides)],
            how,
            steps,
        )

    def fit(self, sides: Sides) -> list[tuple[FittedScorer, ...]]:
        """The detectors of each row; several where it was trained with several seeds."""
        return [scorer.fit(sides) for scorer in self.entries]

    def runs(self, sides: Sides) -> list[tuple[str, Path]]:
        """Name and run folder of those that have one; of several seeds the first."""
        return [(j.label, j.folders(sides)[0]) for j in self.entries if isinstance(j, TrainedRecipe | TrainedRun)]

    def notes(self) -> tuple[str, ...]:
        return tuple(note for scorer in self.entries for note in scorer.notes())


def is_recipe(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def entry_of(name: str, manifest: Manifest, table: pa.Table, out: Path, seeds: Sequence[int] = ()) -> Entry:
    """Raises: UnmaskError for what is no detector."""
    if name == BASELINE:
        return SpectrumBaseline(manifest, table)
    if is_recipe(name):
        return TrainedRecipe(Path(name), manifest, table, out, seeds)
    if (Path(name) / RECIPE).is_file():
        return TrainedRun(Path(name))
    return BundleEntry(name, load(name))
