"""Pre-training an encoder: views of unlabelled images, or of images with the classes that an objective asks for.

Validation asks two things. What do embeddings of images that no step saw hold? A kNN and a linear probe read a column
of the manifest from them; half of the leakage groups is the probes' bank, the other half is asked about. And have they
collapsed? Alignment, uniformity, effective rank and spread say so; the loss alone does not.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray

from unmask.base.method import Method, roles
from unmask.base.objective import Objective, Views
from unmask.data import samplers
from unmask.data.loader import FaceSet, Key
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.errors import RecipeError, UnmaskError
from unmask.measure import embeddings
from unmask.measure.metrics import auroc
from unmask.measure.verification import verify
from unmask.registry import FAMILIES
from unmask.tasks.loading import loaded
from unmask.tasks.recipe import PretrainingRecipe
from unmask.tasks.scores import answers
from unmask.tasks.selection import apart, masks, table_of
from unmask.tasks.task import Compute
from unmask.tasks.views import ViewSet, views_of

FOLDS = 10  # of verification
HELD = 2**31 - 1  # in the place of an epoch's number: views of validation rows are the same each time
PAIRS = 512  # rows whose two views alignment is measured on


@dataclass(frozen=True)
class Pretraining:
    """The task `pretraining`. Its export is the encoder alone, as a file that detectors start from."""

    name: str = "pretraining"
    exports: str = "encoder"

    def resolved(self, recipe: PretrainingRecipe, data: Path) -> PretrainingRecipe:
        """An objective whose constructor takes `classes` is built for as many as data.train has by `label`.

        Raises: UnmaskError where the recipe names no `label`.
        """
        kind = FAMILIES["objective"].kind(recipe.method)
        if "classes" not in inspect.signature(kind).parameters or "classes" in recipe.options:
            return recipe
        if recipe.label == "none":
            raise RecipeError(f"{recipe.method} learns from classes: give the recipe label: identity, method or label")
        table = table_of(data)
        train, _ = masks(table, recipe, labelled=False)
        count = len(set(named(table, recipe.label)[train].tolist()) - {""})
        return recipe.model_copy(update={"options": {**recipe.options, "classes": count}})

    def build(self, recipe: PretrainingRecipe) -> Objective:
        objective: Objective = FAMILIES["objective"].create(recipe.method, recipe.options)
        return objective

    def rows(self, recipe: PretrainingRecipe, data: Path, method: Method[Any]) -> PretrainingRows:
        table = table_of(data)
        train, validate = masks(table, recipe, labelled=False)
        apart(table, train, validate)
        name = named(table, recipe.label)
        if recipe.label != "none":
            train &= name != ""
        for part, mask in (("train", train), ("validate", validate)):
            if mask.sum() < 2:
                raise RecipeError(f"data.{part} leaves {int(mask.sum())} rows of {data}: two are needed at least")
        faces, held = (FaceSet(data, method.input, where=mask) for mask in (train, validate))
        ordered = sorted(set(name[faces.row].tolist()) - {""}, key=lambda k: (k != "real", k))
        kinds = ["real", "fake"] if recipe.label == "label" else ordered  # real, where it is a class, is class 0
        place = {kind: code for code, kind in enumerate(kinds)}
        label, held_label = ([place.get(n, -1) for n in name[f.row].tolist()] for f in (faces, held))
        shown = ViewSet(faces, recipe.views, np.array(label, np.int64))
        tested = ViewSet(held, recipe.views, np.array(held_label, np.int64))
        return PretrainingRows(recipe, shown, tested, named(table, recipe.probe)[held.row])


@dataclass(frozen=True)
class PretrainingRows:
    """
    Attributes:
        probe: (N,) what probes read from the embedding of each validation row; "" = not known.
    """

    recipe: PretrainingRecipe
    train: ViewSet
    validate: ViewSet
    probe: NDArray[np.str_]

    @property
    def manifest(self) -> Manifest:
        return self.train.faces.manifest

    def __len__(self) -> int:
        return len(self.train)

    def note(self) -> str:
        return ""

    def plan(self, epoch: int) -> Plan:
        """Raises: UnmaskError for samplers of detection."""
        recipe, faces, kind = self.recipe, self.train.faces, self.recipe.sampler
        group = faces.group if kind.spread_groups else None
        if kind.name == "by_class":
            return samplers.by_class(self.train.label, recipe.batch, recipe.seed, epoch, group=group)
        if kind.name == "pk":
            return samplers.pk(self.train.label, kind.per_class, recipe.batch, recipe.seed, epoch)
        if kind.name != "shuffled":
            raise RecipeError(f"sampler.name {kind.name!r} pairs real and forged rows: use shuffled, by_class or pk")
        return samplers.shuffled(len(faces), recipe.batch, recipe.seed, epoch, group=group)

    def batches(
        self, keys: Sequence[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[Views]:
        return loaded(self.train, keys, views_of, workers=workers, device=device)

    def measure(self, method: Method[Any], compute: Compute) -> dict[str, float]:
        """loss; knn, linear (balanced accuracy) or verification_*; alignment, uniformity, effective_rank, spread."""
        assert isinstance(method, Objective)
        method.eval()
        held = self.validate.faces
        z = answers(method, held, compute).numpy()
        numbers = self._loss(method, compute) | probes(z, self.probe, groups(held), self.recipe)
        numbers |= {
            "uniformity": embeddings.uniformity(z[:2000]),
            "effective_rank": embeddings.effective_rank(z),
            "spread": float(embeddings.unit(z).std(0).mean() * z.shape[1] ** 0.5),
        }
        if len(self.validate.views) > 1 and self.validate.views[0][0] is self.validate.views[1][0]:
            numbers["alignment"] = self._alignment(method, compute)
        return numbers

    def _loss(self, method: Objective, compute: Compute) -> dict[str, float]:
        """The mean loss over whole batches of validation rows, in evaluation mode; nothing of the method is changed."""
        state = method.state_dict()
        kept = {n: state[n].clone() for n, role in roles(method).items() if role in ("averaged", "replicated")}
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in self._held(compute):
                total += float(sum(float(v) for v in method.loss(batch).values()))
                count += 1
            for name, value in kept.items():
                state[name].copy_(value)
        here = [total / max(1, count)]
        means = here if compute.accelerator.num_processes == 1 else gather_object(here)
        return {"loss": float(np.mean(means))}

    def _held(self, compute: Compute) -> Iterator[Views]:
        """Whole batches, or the one that there is; each process has its share."""
        rank, world = compute.accelerator.process_index, compute.accelerator.num_processes
        n = len(self.validate)
        size = min(self.recipe.batch, n) // world * world
        starts = range(0, n - size + 1, max(1, size))
        keys = [[(row, self.recipe.seed, HELD, row) for row in range(s + rank, s + size, world)] for s in starts]
        return loaded(self.validate, keys, views_of, workers=compute.workers, device=compute.accelerator.device)

    @torch.no_grad()
    def _alignment(self, method: Objective, compute: Compute) -> float:
        """Of the first two views of some rows; every process computes it."""
        chosen = np.unique(np.linspace(0, len(self.validate) - 1, PAIRS).round().astype(int)).tolist()
        keys = [
            [(row, self.recipe.seed, HELD, row) for row in chosen[i : i + compute.batch]]
            for i in range(0, len(chosen), compute.batch)
        ]
        device, found = compute.accelerator.device, []
        for batch in loaded(self.validate, keys, views_of, workers=compute.workers, device=device):
            found.append(torch.stack([method(view).double().cpu() for view in batch.images[:2]]))
        one, other = torch.cat(found, 1).numpy()
        return embeddings.alignment(one, other)


def named(table: pa.Table, column: str) -> NDArray[np.str_]:
    """(N,) the class of each row by `label` (real, fake), `method`, or `identity` within its data set; "" = none."""
    if column == "none":
        return np.full(len(table), "", str)
    fake = table["label"].fill_null(-1).to_numpy()
    real_or_fake: NDArray[np.str_] = np.array(["", "real", "fake"])[fake + 1]
    if column == "label":
        return real_or_fake
    text = np.asarray([t or "" for t in table[column].to_pylist()], str)
    if column == "method":
        return np.where(fake == 1, text, real_or_fake)
    dataset = np.asarray(table["dataset"].to_pylist(), str)
    return np.where(text == "", "", np.char.add(np.char.add(dataset, "/"), text))


def groups(faces: FaceSet) -> NDArray[np.str_]:
    """(N,) leakage groups by name."""
    return np.asarray(faces.table(["group_id"])["group_id"].to_pylist(), str)


def probes(
    z: NDArray[np.float64], label: NDArray[np.str_], group: NDArray[np.str_], recipe: PretrainingRecipe
) -> dict[str, float]:
    """What can be read from embeddings (N, D); rows without a label are left out, and numbers that cannot be had.

    Identities are verified, by pairs: AUROC, and accuracy and VAL at FAR 0.001 over ten folds (LFW's rule). Other
    labels are read by kNN and by a linear probe, across leakage groups.
    """
    z, label, group = (x[label != ""] for x in (z, label, group))
    if recipe.probe == "identity":
        return _verified(z, label)
    order = sorted(set(group.tolist()), key=lambda name: hashlib.sha256(name.encode()).digest())
    half = np.isin(group, order[::2])
    bank, asked = set(label[half].tolist()), set(label[~half].tolist())
    if len(bank) < 2 or len(asked) < 2:
        return {}
    sides = (z[half], label[half], z[~half], label[~half])
    return {
        "knn": embeddings.knn_accuracy(*sides, k=recipe.neighbours),
        "linear": embeddings.linear_accuracy(*sides),
    }


def _verified(z: NDArray[np.float64], label: NDArray[np.str_]) -> dict[str, float]:
    try:
        first, second = embeddings.pairs(label)
    except UnmaskError:
        return {}
    x = embeddings.unit(z)
    same = label[first] == label[second]
    distance = np.square(x[first] - x[second]).sum(1)
    numbers = {"verification_auroc": auroc(same, -distance)}
    count = int(same.sum())  # and as many of two people
    if count >= FOLDS:
        found = verify(same, distance, np.tile(np.arange(count) % FOLDS, 2))
        numbers |= {"verification_accuracy": found.accuracy, "verification_val": found.val}
    return numbers
