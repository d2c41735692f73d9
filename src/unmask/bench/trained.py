"""A recipe as a row of a table: trained on the rows that the table says, once for each seed, and never twice.

out/rows/HASH.parquet      what one column trains and validates on, and nothing else: no run can see a test row
out/runs/NAME-sSEED-HASH/  a run folder of `unmask train`, under the hash of recipe, rows, seed and the method's file

Killed and started again, a run goes on from its last checkpoint, and a finished one is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.base.detector import Detector
from unmask.bench.evaluate import by_detector
from unmask.bench.scorers import FittedScorer, Sides, combined
from unmask.bench.training import Run, train_all
from unmask.data.manifest import Manifest, Writer
from unmask.data.pictures import media_rows
from unmask.errors import RecipeError
from unmask.measure.protocol import Mask
from unmask.registry import FAMILIES
from unmask.tasks import recipe as recipes
from unmask.tasks.recipe import DetectionRecipe, LabelledRecipe
from unmask.tasks.settings import Data
from unmask.train.loop import finished, restore
from unmask.train.run import BEST, FROZEN, Folder, sha256
from unmask.types import Pixels

RULES = "taught/1"  # of how a recipe and rows become a run
CANONICAL_LANDMARKS = "five"  # landmarks of a recipe that forges nothing: whatever it says of them, it learns the same
UNHASHED_KEYS = {
    "name",
    "about",
    "card",
    "seed",
    "start",
}  # keys of a recipe that change no weight, or are hashed otherwise
YOUNGER: dict[str, dict[str, object]] = {  # keys that are younger than the tables, where they say what was so before
    "": {"task": "detection", "masks": False},
    "sampler": {"orphans": False, "per_class": 4},
    "optimizer": {
        "weight_decay_end": None,
        "decay_vectors": True,
        "layer_decay": None,
        "groups": {},
        "trust": 1e-3,
    },
}


@dataclass(frozen=True)
class Rows:
    """What one column trains and validates on: a manifest of its own, and how many crops of it do what."""

    path: Path
    digest: str
    train: int
    validate: int


class TrainedRecipe:
    """A recipe, trained on demand. Its own filters of data sets are not asked: all rows of a table learn the same."""

    def __init__(self, path: Path, manifest: Manifest, table: pa.Table, out: Path, seeds: Sequence[int] = ()) -> None:
        """`seeds`: one training for each; empty = the recipe's own. Raises: UnmaskError for what is no recipe."""
        recipe = recipes.load(path)
        if not isinstance(recipe, LabelledRecipe):
            raise RecipeError(f"{path} is a recipe of {recipe.task}: a table's columns tell real from fake")
        self.recipe = recipe
        self.label, self.seeds = self.recipe.name, tuple(seeds) or (self.recipe.seed,)
        self.manifest, self.table, self.out = manifest, table, out
        self.crop = np.asarray([not r for r in table["reason"].to_pylist()], bool)
        self.rows: dict[str, Rows] = {}
        self.asked: dict[Path, Run] = {}
        self.ready: dict[Path, FittedScorer] = {}

    @cached_property
    def sha256(self) -> str:
        """Of all in the recipe that decides what it learns from given rows, but for the seed."""
        return self._sha256(self.recipe)

    def _sha256(self, recipe: LabelledRecipe) -> str:
        data = recipe.data.model_dump(mode="json", exclude={"train", "validate_"})
        said = recipe.model_dump(mode="json", exclude=UNHASHED_KEYS) | {"data": data}
        said["start"] = sha256(Path(recipe.start)) if recipe.start else ""
        if isinstance(recipe, DetectionRecipe) and not recipe.forge:
            said["landmarks"] = CANONICAL_LANDMARKS
        for part, keys in YOUNGER.items():
            held = said[part] if part else said
            for key in (k for k, default in keys.items() if k in held and held[k] == default):
                del held[key]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _without(self, held_out: Sequence[str]) -> LabelledRecipe:
        """The recipe, which makes none of these forgeries while it trains."""
        if not isinstance(self.recipe, DetectionRecipe):
            return self.recipe
        kept = {name: how for name, how in self.recipe.forge.items() if name not in self._unmade(held_out)}
        return self.recipe.model_copy(update={"forge": kept})

    def _unmade(self, held_out: Sequence[str]) -> list[str]:
        made = self.recipe.forge if isinstance(self.recipe, DetectionRecipe) else ()
        return [name for name in made if name in held_out]

    def digest(self, sides: Sequence[Sides]) -> str:
        seeds = ",".join(map(str, self.seeds))
        each = ["\n".join((self._rows(one).digest, *self._unmade(one.held_out))) for one in sides]
        return hashlib.sha256("\n".join((RULES, self.sha256, seeds, combined(each))).encode()).hexdigest()

    def runs(self, sides: Sequence[Sides]) -> list[Run]:
        """The trainings that these columns ask for, each once."""
        return list(dict.fromkeys(run for one in sides for run in self._runs(one)))

    def fit(self, sides: Sides) -> tuple[FittedScorer, ...]:
        runs = self._runs(sides)
        train_all(runs)
        return tuple(self._detector(run.folder) for run in runs)

    def folders(self, sides: Sides) -> tuple[Path, ...]:
        """Of the runs, one for each seed."""
        return tuple(run.folder for run in self._runs(sides))

    def notes(self) -> tuple[str, ...]:
        sizes = [(r.train, r.validate) for r in self.rows.values()]
        train, validate = (" or ".join(dict.fromkeys(f"{n:,}" for n in each)) for each in zip(*sizes, strict=True))
        steps = [finished(run.folder) for run in self.asked.values()]
        best = ", ".join(str(p.best_step) for p in steps if p)
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        return (
            f"{self.label}: trained here on {train} crops, {seeds}; of each training the checkpoint with the best "
            f"{self.recipe.best} on {validate} validation crops (step {best}).",
        )

    def _runs(self, sides: Sides) -> list[Run]:
        rows, recipe_run = self._rows(sides), self._without(sides.held_out)
        kept = {k: getattr(recipe_run.data, k) for k in ("leave_out", "frames", "pick")}
        of = (RULES, self._sha256(recipe_run), rows.digest, FAMILIES["detector"].sha256(recipe_run.method))
        found = []
        for seed in self.seeds:
            recipe = recipe_run.model_copy(update={"seed": seed, "data": Data(**kept)})
            key = hashlib.sha256("\n".join((*of, str(seed))).encode()).hexdigest()
            run = Run(recipe, rows.path, self.out / "runs" / f"{self.label}-s{seed}-{key[:12]}")
            found.append(self.asked.setdefault(run.folder, run))
        return found

    def _rows(self, sides: Sides) -> Rows:
        """Raises: UnmaskError for a side without real or without forged crops."""
        train, validate = sides.train & self.crop, sides.validate & self.crop
        key = hashlib.sha256(b"\n".join((RULES.encode(), train.tobytes(), validate.tobytes()))).hexdigest()
        if key not in self.rows:
            label = self.table["label"].fill_null(-1).to_numpy()
            for mask, word in ((train, "train"), (validate, "validate")):
                if set(label[mask].tolist()) != {0, 1}:
                    raise RecipeError(
                        f"{self.label} needs real and forged crops to {word} with, and the protocol leaves "
                        f"{int((label[mask] == 0).sum())} and {int((label[mask] == 1).sum())}: widen its filters"
                    )
            self.rows[key] = written(self.manifest, self.table, train, validate, self.out / "rows")
        return self.rows[key]

    def _detector(self, folder: Path) -> FittedScorer:
        if folder not in self.ready:
            self.ready[folder] = lazy(self.label, weights(folder), folder)
        return self.ready[folder]


def written(manifest: Manifest, table: pa.Table, train: Mask, validate: Mask, folder: Path) -> Rows:
    """The rows of both sides as a manifest in `folder`, their splits set to what they are here."""
    split = np.where(train, "train", "val")
    chosen = train | validate
    part = table.set_column(table.column_names.index("split"), "split", pa.array(split, pa.string()))
    ids = "\n".join((manifest.digest, *(f"{s} {i}" for s, i in _named(table, split, chosen))))
    path = folder / f"{hashlib.sha256(ids.encode()).hexdigest()[:16]}.parquet"
    if not (path.is_file() and Manifest(path).roots == manifest.roots):  # else the crops have moved since
        faces = manifest.kind == "faces"
        with Writer(path, manifest.roots, manifest.row) as out:
            out.add_table(part.filter(pa.array(chosen)) if faces else media_rows(manifest, table, split, chosen))
    return Rows(path, Manifest(path).digest, int(train.sum()), int(validate.sum()))


def _named(table: pa.Table, split: NDArray[Any], chosen: Mask) -> list[tuple[str, str]]:
    return list(zip(split[chosen].tolist(), table["item_id"].filter(pa.array(chosen)).to_pylist(), strict=True))


def weights(folder: Path) -> str:
    """sha256 of all that the scores of a run depend on: its model, and the weights themselves.

    Raises: UnmaskError where there are none yet.
    """
    recipe = Folder(folder).recipe()
    parts = [RULES, recipe.method, json.dumps(recipe.options, sort_keys=True), sha256(folder / BEST)]
    parts += [sha256(folder / FROZEN)] if (folder / FROZEN).is_file() else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class LazyScorer:
    """The score function of a run that loads its weights when it is first asked: scores that are kept need none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        return by_detector(self._detector)(crops, rows)

    def frames(self) -> int:
        """That the detector looks at together."""
        return self._detector.input.frames

    @cached_property
    def _detector(self) -> Detector:
        import torch

        detector, _ = restore(self.folder)
        return detector.to("cuda" if torch.cuda.is_available() else "cpu")


def lazy(name: str, sha256: str, folder: Path) -> FittedScorer:
    """A run as a table wants it."""
    scorer = LazyScorer(folder)
    return FittedScorer(name, sha256, scorer, scorer.frames)


class TrainedRun:
    """A run folder of `unmask train`, as it stands."""

    def __init__(self, folder: Path) -> None:
        self.label, self.folder = str(folder), folder
        self.sha256 = weights(folder)

    def digest(self, sides: Sequence[Sides]) -> str:
        return self.sha256

    def fit(self, sides: Sides) -> tuple[FittedScorer, ...]:
        return (lazy(self.folder.name, self.sha256, self.folder),)

    def folders(self, sides: Sides) -> tuple[Path, ...]:
        return (self.folder,)

    def notes(self) -> tuple[str, ...]:
        return ()
