"""A run becomes a bundle: exported, calibrated on validation rows, and held against the torch model on real crops."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask._version import __version__
from unmask.base.detector import Detector
from unmask.base.predict import predict
from unmask.bundles import Scorer, read, write
from unmask.bundles.calibration import log_odds, probabilities
from unmask.bundles.distance import MahalanobisWrapper, fit_mahalanobis, save
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.errors import BundleError, ManifestError
from unmask.exporting.classes import Classes, calibrated, check_classes
from unmask.exporting.delta import subtract
from unmask.exporting.onnx import write_onnx
from unmask.exporting.parity import BOUNDS, CROPS, Parity, check_parity, parity_crops
from unmask.exporting.precision import Precision, quantize, round_weights
from unmask.measure.calibration import calibrate
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import auroc, cllr, eer
from unmask.measure.units import Level, Units, units
from unmask.tasks import task
from unmask.tasks.classification import ClassificationRows
from unmask.tasks.detection import DetectionRows
from unmask.tasks.recipe import ClassificationRecipe, Recipe
from unmask.tasks.scores import scored
from unmask.tiling import pooled
from unmask.train.loop import restore
from unmask.train.run import Folder
from unmask.types import Calibration, Card, DataTerms, InputSpec, Metric

LEVELS: tuple[Level, ...] = ("frame", "video")
MISUSE = ("as the only ground for a decision about a person: accusation, moderation without review, evidence",)
TRAINING_CROPS = 4000  # whose features say what is familiar: plenty for the directions in which distance is measured
OOD_QUANTILE = 0.99  # of the validation crops' distances
Runtime = Literal["onnx", "openvino"]


@dataclass(frozen=True)
class Target:
    """What is to be made of a detector.

    runtime: must pass the gate besides ONNX Runtime; both read the same file.
    bound: of the gate, on P(fake); None = that of `BOUNDS`.
    base: an encoder of `unmask pull` whose weights are left out: the bundle is a delta. "" = nothing is left out.
    """

    runtime: Runtime = "onnx"
    precision: Precision = "fp32"
    bound: float | None = None
    base: str = ""


def export(
    run: Path,
    data: Path,
    out: Path,
    *,
    runtime: Runtime = "onnx",
    precision: Precision = "fp32",
    bound: float | None = None,
    base: str = "",
) -> tuple[Card, Parity]:
    """Write the bundle of a run's best weights.

    Args:
        data: the manifest that the run was trained with; its training rows say what is familiar, its validation rows
            calibrate.
        runtime: that must pass the gate besides ONNX Runtime; both read the same file.
        bound: on P(fake); None = that of `BOUNDS`.
        base: write a delta: what training changed, without the weights of this encoder of `unmask pull`.
    Raises: UnmaskError for other data, and where the exported model answers otherwise than the torch model.
    """
    detector, recipe = restore(run)
    facts = Folder(run).facts()
    if facts["data"] != Manifest(data).digest:
        raise ManifestError(f"{data} is not the manifest that {run} was trained with: its digest differs")
    options = recipe.options | merge_adapters(detector)
    found = task(recipe).rows(recipe, data, detector)
    assert isinstance(found, DetectionRows | ClassificationRows)
    train = found.train if isinstance(found.train, FaceSet) else found.train.faces
    classes = None
    if isinstance(found, ClassificationRows):
        assert isinstance(recipe, ClassificationRecipe)
        classes = Classes(recipe.label, found.train_name, found.validate_name)
    card = _card(recipe, options, detector, facts, found.validate)
    said = f"{', '.join(found.validate.datasets)}, validation rows of the run"
    return build(detector, card, train, found.validate, out, said, Target(runtime, precision, bound, base), classes)


def build(
    detector: Detector,
    card: Card,
    train: FaceSet,
    validate: FaceSet,
    out: Path,
    said: str,
    target: Target,
    classes: Classes | None = None,
) -> tuple[Card, Parity]:
    """Write a detector as a bundle: what every bundle goes through, users' and shipped ones alike.

    Args:
        card: what is known of it before it is measured here.
        train: some of these crops, without augmentation, say what is familiar.
        validate: calibrate, set the threshold of unfamiliar, and are the crops of the parity gate.
        said: what `validate` is, for the card.
        classes: of a classifier: what its classes are, and the class of each crop. It has P(fake) too where "real" is
            one of them and the validation crops hold both.
    Raises: UnmaskError where scores run against the labels, or the exported model answers otherwise than the torch one.
    """
    limit = BOUNDS[target.precision] if target.bound is None else target.bound
    crops = parity_crops(validate)
    exact = predict(detector, crops).logits
    model = familiar(detector, train, classes)
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(model, card.input, Path(scratch), target.precision)
        if target.base:
            card = card.model_copy(update={"base": subtract(files, target.base)})
        card = write(Path(scratch) / "bundle", card, files)
        bundle = read(Path(scratch) / "bundle")
        logits, distance = _read(Scorer(bundle, "onnx"), validate)
        measured: dict[str, Any] = {"ood_threshold": round(float(np.quantile(distance, OOD_QUANTILE)), 4)}
        runtimes = tuple(dict.fromkeys(("onnx", target.runtime)))
        scorers, worst = [Scorer(bundle, name) for name in runtimes], 0.0
        if classes is None or (classes.tells_real(card.classes) and {0, 1} <= set(validate.label.tolist())):
            table = scored(validate, log_odds(logits.astype(np.float32), card.classes).astype(np.float64))
            levels: dict[Level, Units] = {level: units(table, level) for level in LEVELS}
            calibration = _calibration(levels["frame"], said, "frame" if card.input.frames == 1 else "window")
            odds = log_odds(exact, card.classes)
            worst = max(check_parity(one, crops, odds, calibration, limit) for one in scorers)
            metrics = tuple(m for level, found in levels.items() for m in _metrics(level, found, validate, calibration))
            measured |= {"calibration": calibration, "metrics": metrics}
        if classes is not None:
            of_classes, more = calibrated(classes, card.classes, validate, logits, said)
            worst = max(worst, *(check_classes(one, crops, exact, of_classes, limit) for one in scorers))
            measured |= {"class_calibration": of_classes, "metrics": (*measured.get("metrics", ()), *more)}
        return write(out, card.model_copy(update=measured), files), Parity(worst, limit, len(crops), runtimes)


def familiar(detector: Detector, train: FaceSet, classes: Classes | None = None) -> MahalanobisWrapper:
    """The detector with the distance from its training crops, by class. Raises: UnmaskError, see `fit_mahalanobis`."""
    plain = train.untransformed()
    chosen = np.random.default_rng(0).permutation(len(plain))[:TRAINING_CROPS]
    parts = [chosen[i : i + CROPS] for i in range(0, len(chosen), CROPS)]
    features = np.concatenate([predict(detector, np.stack([plain[int(i)].image for i in p])).features for p in parts])
    label = plain.label if classes is None else np.unique(classes.train, return_inverse=True)[1]
    return fit_mahalanobis(detector, features, label[chosen])


def merge_adapters(detector: Detector) -> dict[str, Any]:
    """What was added for training is folded in, in place. Returns: the options that this changes."""
    merge = getattr(detector, "merge", None)
    return dict(merge()) if callable(merge) else {}


def _files(model: MahalanobisWrapper, spec: InputSpec, folder: Path, precision: Precision) -> dict[str, Path]:
    """The files of the bundle. In int8 there is no torch file: torch would answer as another model."""
    model = round_weights(model, precision).eval()
    files = {"model.onnx": folder / "model.onnx"}
    write_onnx(model, files["model.onnx"], blank(spec))
    quantize(files["model.onnx"], precision)
    if precision != "int8":
        files["model.safetensors"] = folder / "model.safetensors"
        save(model, str(files["model.safetensors"]))
    return files


def blank(spec: InputSpec) -> Tensor:
    """Two grey images or windows, as an export wants to see."""
    axes = (3,) if spec.frames == 1 else (spec.frames, 3)
    return torch.full((2, *axes, spec.size, spec.size), 0.5)


def _read(scorer: Scorer, faces: FaceSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits (N, K) and distances (N,) of all rows, of a whole image the means over its tiles."""
    found = []
    for start in range(0, len(faces), CROPS):
        parts = [faces.inputs(i) for i in range(start, min(start + CROPS, len(faces)))]
        counts = [len(part) for part in parts]
        reading = scorer.read(np.concatenate(parts))
        assert reading.features_distance is not None  # `familiar` gave it one
        found.append((pooled(reading.logits, counts), pooled(reading.features_distance, counts)))
    logits, distance = (np.concatenate(column).astype(np.float64) for column in zip(*found, strict=True))
    return logits, distance


def _calibration(frames: Units, said: str, what: str) -> Calibration:
    said = f"{said}: {len(frames)} {what}s, {len(np.unique(frames.group))} groups"
    found = calibrate(frames.label, frames.score, frames.group.tolist(), said)
    if found.slope <= 0:
        raise BundleError(
            "higher scores go with real faces in the validation rows: this run has learnt nothing to export"
        )
    return found


def _metrics(level: Level, found: Units, faces: FaceSet, calibration: Calibration) -> Iterator[Metric]:
    """AUROC, EER and Cllr on the rows that chose the weights and the calibration: an upper bound, and named so."""
    said = probabilities(calibration, found.score.astype(np.float32)).astype(np.float64)
    for name, metric, looked in (("AUROC", auroc, found.score), ("EER", eer, found.score), ("Cllr", cllr, said)):
        got = bootstrap(metric, found.label, looked, found.group)
        yield Metric(
            data=", ".join(faces.datasets),
            split="val",
            level="window" if level == "frame" and faces.spec.frames > 1 else level,
            name=name,
            value=round(got.value, 4),
            low=round(got.low, 4),
            high=round(got.high, 4),
            real=int((found.label == 0).sum()),
            fake=int((found.label == 1).sum()),
            seen="validation, chose the weights",
        )


def _card(recipe: Recipe, options: dict[str, Any], detector: Detector, facts: dict[str, str], faces: FaceSet) -> Card:
    words = recipe.card
    held = recipe.model_dump(mode="json", by_alias=True, exclude={"start", "card"})
    start = {"name": Path(recipe.start).name, "sha256": facts["start"]} if recipe.start else None
    unsaid = tuple(
        DataTerms(name=d, use="training, calibration", terms="not stated by the recipe") for d in faces.datasets
    )
    return Card(
        name=recipe.name,
        version=__version__,
        summary=words.summary or recipe.about or recipe.name,
        method=recipe.method,
        options=options,
        classes=detector.classes,
        input=detector.input,
        trained_on=words.trained_on,
        limits=words.limits,
        misuse=words.misuse or MISUSE,
        data=words.terms or unsaid,
        licence=words.licence,
        recipe={**held, "start": start, "data_digest": facts["data"]},
        files={},
    )
