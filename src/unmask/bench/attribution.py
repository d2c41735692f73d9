"""How well a bundle or a run of the task `classification` tells classes apart: generators, people, kinds of attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from unmask.base.detector import Detector
from unmask.base.predict import predict
from unmask.bench.evaluate import chosen
from unmask.bench.scoring import BATCH, crops_of
from unmask.bundles import load, locate, read_card
from unmask.bundles.bundle import CARD
from unmask.bundles.classes import class_sets
from unmask.data.fitting import check, fit
from unmask.data.manifest import Manifest
from unmask.errors import BundleError, ManifestError
from unmask.measure.class_units import ClassUnits, class_units
from unmask.measure.classes import Number, OfClass, attack_numbers, by_class, numbers
from unmask.measure.protocol import Interval
from unmask.tasks.classification import BINARY_LABELS, named
from unmask.tasks.recipe import ClassificationRecipe, ClassLabel
from unmask.train.loop import restore
from unmask.train.run import RECIPE, Folder
from unmask.types import ClassCalibration, Floats, InputSpec, Pixels

Logits = Callable[[Pixels], Floats]  # uint8 (N, S, S, 3) -> (N, K)


@dataclass(frozen=True)
class Classifier:
    """A bundle or a run, ready to name classes. `calibration`: a run has none, and so no sets."""

    name: str
    kind: ClassLabel
    classes: tuple[str, ...]
    input: InputSpec
    logits: Logits
    calibration: ClassCalibration | None = None
    person: str = ""


@dataclass(frozen=True)
class Attribution:
    """Numbers with intervals, and what they rest on.

    Attributes:
        data: digest of the manifest. rows: crops that were asked about; videos: what they were pooled to.
        error_rate: of the sets; None where the classifier has no calibration.
    """

    detector: str
    kind: ClassLabel
    classes: tuple[str, ...]
    data: str
    split: str
    rows: int
    videos: int
    groups: int
    interval: Interval
    error_rate: float | None
    numbers: tuple[Number, ...]
    by_class: tuple[OfClass, ...]


def classifier(name: str) -> Classifier:
    """The folder of a bundle or of a run, or "hub:owner/name".

    Raises: UnmaskError for a detector that tells nothing apart but real and fake.
    """
    if (Path(name) / RECIPE).is_file():
        detector, recipe = restore(Path(name))
        if not isinstance(recipe, ClassificationRecipe):
            raise BundleError(f"{name} is a run of {recipe.task}: train a recipe with `task: classification`")
        return Classifier(
            recipe.name, recipe.label, detector.classes, detector.input, _of_run(detector), person=recipe.person
        )
    scorer = load(name)
    card = scorer.card
    if card.class_calibration is None:
        raise BundleError(
            f"{name} tells real from fake and nothing else: export a run of `task: classification`, or use "
            "`unmask eval evaluate`"
        )
    kind, person = card.class_calibration.kind, str(card.recipe.get("person", ""))
    return Classifier(card.name, kind, card.classes, card.input, scorer.logits, card.class_calibration, person)


def tells_only_classes(name: str) -> bool:
    """Whether it is a classifier that has no class "real". Raises: UnmaskError for what is no detector."""
    if (Path(name) / RECIPE).is_file():
        recipe = Folder(Path(name)).recipe()
        return (
            isinstance(recipe, ClassificationRecipe)
            and recipe.label not in BINARY_LABELS
            and "real" not in recipe.classes
        )
    return "real" not in read_card(locate(name) / CARD).classes


def evaluate_classes(
    name: str,
    manifest: Path,
    *,
    split: str = "test",
    error_rate: float = 0.1,
    progress: Callable[[int], None] | None = None,
) -> Attribution:
    """
    Args:
        name: the folder of a bundle or of a run of the task `classification`, or "hub:owner/name".
        split: "all", or the split whose rows count. For attacks, rows of "val" give the threshold.
        error_rate: of the conformal sets, 0..1.
    Raises: UnmaskError for a detector without classes, rows that are not there, and crops that do not fit.
    """
    asked, opened, how = classifier(name), Manifest(manifest), Interval()
    found, rows = _units(asked, opened, split, progress)
    if asked.kind in BINARY_LABELS:
        development, _ = _units(asked, opened, "val", progress)
        measured = attack_numbers(found, development, how)
    else:
        measured = numbers(found, asked.classes, how)
    sets = (
        None
        if asked.calibration is None
        else class_sets(asked.calibration, found.logits.astype(np.float32), error_rate)
    )
    return Attribution(
        asked.name,
        asked.kind,
        asked.classes,
        opened.digest,
        split,
        rows,
        len(found),
        len(np.unique(found.group)),
        how,
        None if asked.calibration is None else error_rate,
        measured,
        by_class(found, asked.classes, sets, how),
    )


def _units(
    asked: Classifier, manifest: Manifest, split: str, progress: Callable[[int], None] | None
) -> tuple[ClassUnits, int]:
    """The videos of a split, and how many crops they were pooled from."""
    if manifest.kind != "faces":
        raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")
    table = manifest.table(list(manifest.arrow_schema.names))
    truth = named(table, asked.kind, asked.person)
    cropped = np.asarray([not reason for reason in table["reason"].to_pylist()], bool)
    kept = chosen(table, split) & cropped & ((truth != "") | (asked.kind == "sequence"))
    if not kept.any():
        there = ", ".join(sorted({s or "none" for s in table["split"].to_pylist()}))
        raise ManifestError(f"{manifest.path} has no rows of the split {split!r} with a class; its splits: {there}")
    part = table.filter(pa.array(kept))
    return class_units(part, np.concatenate(list(_read(asked, manifest, part, progress))), truth[kept]), int(kept.sum())


def _read(
    asked: Classifier, manifest: Manifest, table: pa.Table, progress: Callable[[int], None] | None
) -> Iterator[Floats]:
    rows: list[dict[str, Any]] = table.select(
        ["item_id", "dataset", "relpath", "reason", "margin", "template"]
    ).to_pylist()
    coming = zip(rows, crops_of(manifest, rows), strict=True)
    while part := list(islice(coming, BATCH)):
        for row, _ in part:
            check(asked.input, row["margin"], row["template"], row["item_id"])
        yield asked.logits(np.stack([fit(crop, asked.input, row["margin"]) for row, crop in part]))
        if progress is not None:
            progress(len(part))


def _of_run(detector: Detector) -> Logits:
    return lambda crops: predict(detector, crops).logits
