"""Which of several classes: the generator of an image, bona fide or a presentation attack, the order of its edits.

method     classes are "real" and the forgeries' `method`; other methods in validation rows are unknown ones (open set)
version    "real" and the forgeries' `generator_version`, "family/model" where the data set names both
source     method@source and real@source, of `extra["source"]` or the data set: equal generators of two sets are two
identity   people, as data set/identity; rows without one are left out
person     "real", authentic images of one person, and "fake": other people, and forgeries of the person
attack     "real" and "fake", which are bona fide and attack; `method` is the attack's type (ISO/IEC 30107-3)
sequence   classes are whole orders of edits as `extra["steps"]` writes them ("Bangs-Smiling"), "" is none
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector
from unmask.base.method import Method
from unmask.data import transforms
from unmask.data.loader import FaceSet, Key
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.errors import RecipeError
from unmask.measure import attribution, sequence
from unmask.measure.metrics import auroc
from unmask.measure.spoofing import development_threshold, spoofing
from unmask.registry import FAMILIES, checked
from unmask.tasks.loading import batches
from unmask.tasks.recipe import ClassificationRecipe, ClassLabel
from unmask.tasks.scores import logits
from unmask.tasks.selection import apart, masks, planned, set_of, table_of, transform
from unmask.tasks.task import Compute

BINARY, BINARY_LABELS = ("real", "fake"), ("attack", "person")
UNLABELLED = "?"  # in the place of a name, of a training row whose class is not told


@dataclass(frozen=True)
class Classification:
    """The task `classification`: a detector with other classes than real and fake, or with ISO's metrics."""

    name: str = "classification"
    exports: str = "bundle"

    def resolved(self, recipe: ClassificationRecipe, data: Path) -> ClassificationRecipe:
        """With the classes of data.train, sorted, where the recipe names none.

        Raises: UnmaskError for fewer than two.
        """
        if recipe.label in BINARY_LABELS:
            return recipe.model_copy(update={"classes": BINARY})
        if recipe.classes:
            return recipe
        table = table_of(data, None)
        train, _ = masks(table, recipe)
        unnamed = {""} if recipe.label != "sequence" else set()  # of orders of edits, "" is that there are none
        classes = tuple(sorted(set(named(table, recipe.label, recipe.person)[train].tolist()) - unnamed))
        if len(classes) < 2:
            raise RecipeError(
                f"data.train has {len(classes)} classes by {recipe.label!r}: two are needed to learn from"
            )
        return recipe.model_copy(update={"classes": classes})

    def build(self, recipe: ClassificationRecipe) -> Detector:
        """The detector with a head for these classes. Raises: UnmaskError for one whose head cannot have them."""
        kind = FAMILIES["detector"].kind(recipe.method)
        wider = type(kind.__name__, (kind,), {"classes": recipe.answers or BINARY, "__module__": kind.__module__})
        detector: Detector = wider(**checked(recipe.method, kind, dict(recipe.options)))
        return detector

    def rows(self, recipe: ClassificationRecipe, data: Path, method: Method[Any]) -> ClassificationRows:
        table = table_of(data, method.input)
        train, validate = masks(table, recipe, frames=method.input.frames)
        apart(table, train, validate)
        name = named(table, recipe.label, recipe.person)
        shown = name if recipe.open_world is None else unnamed(table, name, recipe)
        train &= np.isin(shown, recipe.classes if recipe.open_world is None else (*recipe.classes, UNLABELLED))
        for part, mask in (("train", train), ("validate", validate)):
            if len(set((shown if part == "train" else name)[mask].tolist()) & set(recipe.classes)) < 2:
                raise RecipeError(f"data.{part} must leave rows of two classes or more by {recipe.label!r}")
        views = [transform(view) or transforms.Chain(()) for view in recipe.views]
        changed = transform(recipe.transforms)
        faces = set_of(data, method.input, train, transform=changed, views=views, training=True)
        held = set_of(data, method.input, validate)
        return ClassificationRows(recipe, faces, held, shown[faces.row], name[held.row])


@dataclass(frozen=True)
class ClassificationRows:
    """
    Attributes:
        train_name, validate_name: (N,) the class of each row; of a validation row it may be an unknown one, and of a
            training row `UNLABELLED` in an open world.
    """

    recipe: ClassificationRecipe
    train: FaceSet
    validate: FaceSet
    train_name: NDArray[np.str_]
    validate_name: NDArray[np.str_]

    @property
    def manifest(self) -> Manifest:
        return self.train.manifest

    def __len__(self) -> int:
        return len(self.train)

    def note(self) -> str:
        unknown = int((~np.isin(self.validate_name, self.recipe.classes)).sum())
        said = f"{unknown:,} validation rows are of classes that are not trained: open set" if unknown else ""
        free = int((self.train_name == UNLABELLED).sum())
        return "; ".join(t for t in (said, f"{free:,} training rows are unlabelled" if free else "") if t)

    def plan(self, epoch: int) -> Plan:
        return planned(self.recipe, self.train, epoch, self._codes)

    @property
    def _codes(self) -> NDArray[np.int64]:
        place = {name: code for code, name in enumerate(self.recipe.classes)}
        return np.array([place.get(name, -1) for name in self.train_name.tolist()], np.int64)

    def batches(
        self, keys: Sequence[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[Batch]:
        """`Batch.label` is the index into the detector's classes, -1 of an unlabelled row."""
        codes = torch.from_numpy(self._codes).to(device)
        for batch in batches(self.train, keys, workers=workers, device=device):
            assert batch.index is not None
            yield replace(batch, label=codes[batch.index])

    def measure(self, method: Method[Any], compute: Compute) -> dict[str, float]:
        """The numbers of `metrics`, and "loss", the mean cross-entropy over rows of known classes."""
        assert isinstance(method, Detector)
        found = logits(method, self.validate, compute)
        if found.shape[1] != len(self.recipe.answers):
            raise RecipeError(
                f"{self.recipe.method} answers with {found.shape[1]} classes whatever it is built with, and "
                f"{len(self.recipe.answers)} are asked for: choose another detector"
            )
        place = {name: code for code, name in enumerate(self.recipe.classes)}
        code = torch.tensor([place.get(name, -1) for name in self.validate_name.tolist()])
        loss = F.cross_entropy(found[code >= 0], code[code >= 0]).item()
        kind = self.validate.table(["method"])["method"].to_pylist()
        table = answered(self.validate_name, found.numpy(), self.recipe.answers, kind)
        numbers = {"loss": loss} | metrics(table, self.recipe.label)
        if self.recipe.open_world is None:
            return numbers
        predicted = np.asarray(table["predicted"].to_pylist(), str)
        known = np.isin(self.validate_name, self.recipe.classes)
        return numbers | asdict(attribution.open_world(self.validate_name, predicted, known))


def unnamed(table: pa.Table, name: NDArray[np.str_], recipe: ClassificationRecipe) -> NDArray[np.str_]:
    """(N,) `name` where a row of a known class is labelled, `UNLABELLED` where it is not, "" where it is left out."""
    assert recipe.open_world is not None
    world, known = recipe.open_world, np.isin(name, recipe.classes)
    if world.tags:
        tag = np.asarray([dict(extra or ()).get(world.tags, "unused") for extra in table["extra"].to_pylist()], str)
        return np.select(
            [(tag == "labelled") & known, np.isin(tag, ("labelled", "unlabelled"))], [name, UNLABELLED], ""
        )
    group = np.asarray(table["group_id"].to_pylist(), str)
    place = np.array([_place(f"{recipe.seed}/{n}/{g}") for n, g in zip(name.tolist(), group.tolist(), strict=True)])
    here = known | (place < world.kept)
    return np.select([known & (place < world.labelled), here & (name != "")], [name, UNLABELLED], "")


def _place(text: str) -> float:
    """0..1 by a hash: no later file changes where a group falls."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def named(table: pa.Table, label: ClassLabel, person: str = "") -> NDArray[np.str_]:
    """(N,) the class of each row of a manifest."""
    fake = np.asarray(table["label"].fill_null(-1).to_numpy())
    if label == "attack":
        return np.where(fake == 1, "fake", "real")
    if label == "person":
        own = np.asarray(table["identity"].to_pylist(), str) == person
        return np.where(own & (fake == 0), "real", "fake")
    if label == "identity":
        who = zip(table["dataset"].to_pylist(), table["identity"].to_pylist(), strict=True)
        return np.asarray([f"{dataset}/{name}" if name else "" for dataset, name in who], str)
    if label in ("method", "source", "version"):
        column = "generator_version" if label == "version" else "method"
        made = np.where(fake == 1, np.asarray([v or "" for v in table[column].to_pylist()], str), "real")
        if label != "source":
            return made
        said = zip(table["extra"].to_pylist(), table["dataset"].to_pylist(), strict=True)
        return np.char.add(np.char.add(made, "@"), np.asarray([dict(e or ()).get("source", d) for e, d in said], str))
    return np.asarray([dict(extra or ()).get("steps", "") for extra in table["extra"].to_pylist()], str)


def answered(
    truth: NDArray[np.str_], found: NDArray[np.float64], classes: Sequence[str], kind: Sequence[str]
) -> pa.Table:
    """What a classifier said of N rows, as `metrics` reads it.

    Args:
        truth: (N,) names of classes, unknown ones among them.
        found: (N, K) logits.
        kind: (N,) what made each row: the attack's type.
    Returns: columns truth, predicted, confidence (the largest softmax probability), known, score (log-odds of the last
        class of two), kind.
    """
    shifted = np.exp(found - found.max(1, keepdims=True))
    probability = shifted / shifted.sum(1, keepdims=True)
    predicted = np.asarray(classes)[found.argmax(1)]
    columns = {"truth": truth, "predicted": predicted, "confidence": probability.max(1), "kind": kind}
    score = found[:, -1] - found[:, 0]
    return pa.table(columns | {"known": np.isin(truth, classes), "score": score})


def metrics(table: pa.Table, label: ClassLabel) -> dict[str, float]:
    """Numbers of the field for what is told apart; `table` as `answered` gives it.

    method    accuracy on known classes, nmi, ari, hungarian_accuracy; with unknown classes, auroc (known from unknown,
              by confidence) and oscr
    attack    auroc; apcer (the worst type's), bpcer, acer and hter at the threshold of these rows' equal error rate
    sequence  accuracy of whole orders, fixed_accuracy and adaptive_accuracy of their steps
    """
    truth, predicted = (np.asarray(table[c].to_pylist(), str) for c in ("truth", "predicted"))
    known, confidence = table["known"].to_numpy(zero_copy_only=False), table["confidence"].to_numpy()
    if label in BINARY_LABELS:
        return _attack(truth, table["score"].to_numpy(), np.asarray(table["kind"].to_pylist(), str))
    numbers = {"accuracy": attribution.accuracy_of_classes(truth[known], predicted[known])}
    if label == "sequence":
        orders = _orders(truth, predicted)
        fixed, adaptive = sequence.fixed_accuracy(*orders), sequence.adaptive_accuracy(*orders)
        return numbers | {"fixed_accuracy": fixed, "adaptive_accuracy": adaptive}
    numbers |= {
        "hungarian_accuracy": attribution.hungarian_accuracy(truth, predicted),
        "nmi": attribution.nmi(truth, predicted),
        "ari": attribution.ari(truth, predicted),
    }
    if not known.all():
        numbers["auroc"] = attribution.open_set_auroc(known, confidence)
        numbers["oscr"] = attribution.oscr(truth == predicted, confidence, known)
    return numbers


def _attack(truth: NDArray[np.str_], score: NDArray[np.float64], kind: NDArray[np.str_]) -> dict[str, float]:
    label = truth == "fake"
    found = asdict(spoofing(label, score, kind, development_threshold(label, score)))
    named = {"apcer": found["worst"], **{name: found[name] for name in ("bpcer", "acer", "hter")}}
    return {"auroc": auroc(label, score)} | named


def _orders(*names: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    """Orders "a-b" as rows of numbers, 0 = no step; one numbering for all."""
    steps = [[name.split("-") if name else [] for name in column.tolist()] for column in names]
    known = sorted({step for column in steps for order in column for step in order})
    longest = max((len(order) for column in steps for order in column), default=0)
    code = {step: n for n, step in enumerate(known, 1)}
    rows = [[[code[s] for s in order] + [0] * (longest - len(order)) for order in column] for column in steps]
    return [np.array(column, np.int64).reshape(len(column), longest) for column in rows]
