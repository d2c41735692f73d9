"""Pre-training an encoder: views of unlabelled images, or of images with the classes that an objective asks for; images
with captions; or sentences alone (`unmask.tasks.sentences`).

Images are crops of faces, or whole images of a manifest of media files. Validation asks two things. What do embeddings
of images that no step saw hold? A kNN and a linear probe read a column of the manifest from them; half of the leakage
groups is the probes' bank, the other half is asked about. And have they collapsed? Alignment, uniformity, effective
rank and spread say so; the loss alone does not. With captions, retrieval and the gap between both modalities are
measured too.
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
from numpy.typing import NDArray

from unmask.base.method import Method
from unmask.base.objective import Objective, Views
from unmask.data.images import ImageSet
from unmask.data.loader import FaceSet, Key
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.errors import RecipeError, UnmaskError
from unmask.measure import embeddings, retrieval
from unmask.measure.metrics import auroc
from unmask.measure.verification import verify
from unmask.registry import FAMILIES
from unmask.tasks.held import HELD, held_loss
from unmask.tasks.loading import loaded
from unmask.tasks.recipe import PretrainingRecipe
from unmask.tasks.scores import answers, read
from unmask.tasks.selection import apart, listed, masks
from unmask.tasks.sentences import SentenceRows, planned
from unmask.tasks.task import Compute, Rows
from unmask.tasks.views import TextViews, ViewSet, views_of
from unmask.tasks.words import pinned

FOLDS = 10  # of verification
KINDS = ("faces", "media", "sentences")
PAIRS = 512  # rows whose two views alignment is measured on


@dataclass(frozen=True)
class Pretraining:
    """The task `pretraining`. Its export is the encoder alone, as a file that detectors start from."""

    name: str = "pretraining"
    exports: str = "encoder"

    def resolved(self, recipe: PretrainingRecipe, data: Path) -> PretrainingRecipe:
        """An objective whose constructor takes `classes` is built for as many as data.train has by `label`.

        One that reads with the files of a folder is built for exactly these files.

        Raises: UnmaskError where the recipe names no `label`.
        """
        recipe = recipe.model_copy(update={"options": pinned(recipe.options)})
        kind = FAMILIES["objective"].kind(recipe.method)
        if "classes" not in inspect.signature(kind).parameters or "classes" in recipe.options:
            return recipe
        if recipe.label == "none":
            raise RecipeError(f"{recipe.method} learns from classes: give the recipe label: identity, method or label")
        table = listed(data, KINDS)
        train, _ = masks(table, recipe, labelled=False)
        count = len(set(named(table, recipe.label)[train].tolist()) - {""})
        return recipe.model_copy(update={"options": {**recipe.options, "classes": count}})

    def build(self, recipe: PretrainingRecipe) -> Objective:
        objective: Objective = FAMILIES["objective"].create(recipe.method, recipe.options)
        return objective

    def rows(self, recipe: PretrainingRecipe, data: Path, method: Method[Any]) -> Rows:
        assert isinstance(method, Objective)
        table, kind = listed(data, KINDS), Manifest(data).kind
        held_by = method.learns_from or method.modalities
        sees, reads = "image" in held_by, "text" in held_by
        if sees and kind == "sentences":
            raise RecipeError(f"{recipe.method} learns from images, and {data} lists sentences")
        train, validate = masks(table, recipe, labelled=False)
        apart(table, train, validate)
        name = named(table, recipe.label)
        if recipe.label != "none":
            train &= name != ""
        if reads and kind != "sentences":
            said = captioned(table)
            train, validate = train & said, validate & said
        for part, mask in (("train", train), ("validate", validate)):
            if mask.sum() < 2:
                with_words = " with captions" if reads and kind != "sentences" else ""
                raise RecipeError(
                    f"data.{part} leaves {int(mask.sum())} rows{with_words} of {data}: two are needed at least"
                )
        if not sees:
            return SentenceRows.of(recipe, data, table, train, validate, code(name, name[train], recipe.label))
        images = ImageSet if kind == "media" else FaceSet
        faces, held = (images(data, method.input, where=mask) for mask in (train, validate))
        label = code(name, name[faces.row], recipe.label)
        texts = [words(table, f, recipe) if reads else None for f in (faces, held)]
        shown = ViewSet(faces, recipe.views, label[faces.row], texts[0])
        tested = ViewSet(held, recipe.views, label[held.row], texts[1])
        captions = tuple(tuple(c) for c in table["caption"].take(pa.array(held.row)).to_pylist()) if reads else ()
        return PretrainingRows(recipe, shown, tested, named(table, recipe.probe)[held.row], captions)


@dataclass(frozen=True)
class PretrainingRows:
    """
    Attributes:
        probe: (N,) what probes read from the embedding of each validation row; "" = not known.
        captions: (N,) of each validation row, where the objective reads.
    """

    recipe: PretrainingRecipe
    train: ViewSet
    validate: ViewSet
    probe: NDArray[np.str_]
    captions: tuple[tuple[str, ...], ...] = ()

    @property
    def manifest(self) -> Manifest:
        return self.train.faces.manifest

    def __len__(self) -> int:
        return len(self.train)

    def note(self) -> str:
        return ""

    def plan(self, epoch: int) -> Plan:
        """Raises: UnmaskError for samplers of detection."""
        return planned(self.recipe, self.train.label, self.train.faces.group, epoch)

    def batches(
        self, keys: Sequence[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[Views]:
        return loaded(self.train, keys, views_of, workers=workers, device=device)

    def measure(self, method: Method[Any], compute: Compute) -> dict[str, float]:
        """loss; knn, linear (balanced accuracy) or verification_*; alignment, uniformity, effective_rank, spread.

        With captions also R@k of both directions, centroid_distance and separability.
        """
        assert isinstance(method, Objective)
        method.eval()
        held = self.validate.faces
        z = answers(method, held, compute).numpy()
        numbers = held_loss(method, self.validate, self.recipe, compute) | probes(
            z, self.probe, groups(held), self.recipe
        )
        numbers |= embeddings.health(z)
        if self.captions:
            numbers |= self._retrieval(method, z, compute)
        if len(self.validate.views) > 1 and self.validate.views[0][0] is self.validate.views[1][0]:
            numbers["alignment"] = self._alignment(method, compute)
        return numbers

    def _retrieval(self, method: Objective, z: NDArray[np.float64], compute: Compute) -> dict[str, float]:
        texts = [text for said in self.captions for text in said]
        owner = np.repeat(np.arange(len(self.captions)), [len(said) for said in self.captions])
        t = read(method, texts, compute).numpy()
        first = t[np.searchsorted(owner, np.arange(len(z)))]
        gap = {"centroid_distance": embeddings.centroid_distance(z, first)}
        if len(z) >= 10:
            gap["separability"] = embeddings.separability(z, first)
        return retrieval.recall(z, t, owner) | gap

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


def captioned(table: pa.Table) -> NDArray[np.bool_]:
    """(N,), True for rows with a caption."""
    if "caption" not in table.column_names:
        return np.zeros(len(table), bool)
    return np.array([bool(said) for said in table["caption"].to_pylist()], bool)


def words(table: pa.Table, faces: FaceSet, recipe: PretrainingRecipe) -> TextViews:
    return TextViews({"text": table["caption"].take(pa.array(faces.row))}, recipe.texts)


def code(name: NDArray[np.str_], shown: NDArray[np.str_], column: str) -> NDArray[np.int64]:
    """(N,) class of each row's name among those of training rows, -1 = none. Real, where it is a class, is class 0."""
    ordered = sorted(set(shown.tolist()) - {""}, key=lambda k: (k != "real", k))
    kinds = ["real", "fake"] if column == "label" else ordered
    place = {kind: number for number, kind in enumerate(kinds)}
    return np.array([place.get(n, -1) for n in name.tolist()], np.int64)


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
