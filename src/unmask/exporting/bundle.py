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
from safetensors.torch import save_file

from unmask._version import __version__
from unmask.base.detector import Detector
from unmask.bundles import Scorer, read, write
from unmask.bundles.calibration import log_odds, probabilities
from unmask.bundles.distance import ExportWrapper
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.errors import BundleError, ManifestError
from unmask.exporting.onnx import write_onnx
from unmask.exporting.precision import Precision, large, reduced, rounded
from unmask.measure.calibration import calibrate
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import auroc, eer
from unmask.measure.units import Level, Units, units
from unmask.train.loop import restore
from unmask.train.recipe import Recipe
from unmask.train.rows import rows
from unmask.train.run import Folder
from unmask.train.validate import scored
from unmask.types import Calibration, Card, DataTerms, Floats, Metric, Pixels

# Largest difference of P(fake) from the float32 torch model. For float32 that is rounding; the others are given what
# their precision is expected to cost. More is a fault of the export, or a model that does not bear it.
BOUNDS: dict[Precision, float] = {"fp32": 0.001, "bf16": 0.02, "int8": 0.05}
CROPS = 64  # real crops of the gate
LEVELS: tuple[Level, ...] = ("frame", "video")
MISUSE = ("as the only ground for a decision about a person: accusation, moderation without review, evidence",)
Runtime = Literal["onnx", "openvino"]


@dataclass(frozen=True)
class Parity:
    """The largest difference of P(fake) between torch and the exported model, on so many crops, and what is allowed."""

    worst: float
    bound: float
    crops: int
    runtimes: tuple[str, ...]


def export(
    run: Path,
    data: Path,
    out: Path,
    *,
    runtime: Runtime = "onnx",
    precision: Precision = "fp32",
    bound: float | None = None,
) -> tuple[Card, Parity]:
    """Write the bundle of a run's best weights.

    Args:
        data: the manifest that the run was trained with; its validation rows calibrate.
        runtime: that must pass the gate besides ONNX Runtime; both read the same file.
        bound: on P(fake); None = that of `BOUNDS`.
    Raises: UnmaskError for other data, and where the exported model answers otherwise than the torch model.
    """
    detector, recipe = restore(run)
    facts = Folder(run).facts()
    if facts["data"] != Manifest(data).digest:
        raise ManifestError(f"{data} is not the manifest that {run} was trained with: its digest differs")
    limit = BOUNDS[precision] if bound is None else bound
    options = recipe.options | merged(detector)
    faces = rows(recipe, data, detector.input).validate
    crops = fixture(faces)
    exact = torch_margins(detector, crops)
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(detector, Path(scratch), crops, precision)
        card = write(Path(scratch) / "box", _card(recipe, options, detector, facts, faces), files)
        bundle = read(Path(scratch) / "box")
        table = scored(faces, _margins(Scorer(bundle), faces))
        levels: dict[Level, Units] = {level: units(table, level) for level in LEVELS}
        calibration = _calibrated(levels["frame"], faces)
        runtimes = tuple(dict.fromkeys(("onnx", runtime)))
        worst = max(gap(Scorer(bundle, name), crops, exact, calibration, limit) for name in runtimes)
        metrics = tuple(m for level, found in levels.items() for m in _metrics(level, found, faces))
        card = card.model_copy(update={"calibration": calibration, "metrics": metrics})
        return write(out, card, files), Parity(worst, limit, len(crops), runtimes)


def gap(scorer: Scorer, crops: Pixels, exact: Floats, calibration: Calibration, bound: float) -> float:
    """The largest difference of P(fake) from that of the logits `exact` (N,), one by one and in batches of five.

    Raises: UnmaskError where it is above the bound, or a verdict is another one: real or forged, at P = 1/2. Only
        verdicts that torch itself puts within the bound of 1/2 may change.
    """
    want, worst = probabilities(calibration, exact), 0.0
    for size in (1, 5):
        parts = [scorer.logits(crops[i : i + size]) for i in range(0, len(crops), size)]
        said = probabilities(calibration, log_odds(np.concatenate(parts), scorer.card.classes))
        worst = max(worst, float(np.abs(said - want).max()))
        turned = int((((said >= 0.5) != (want >= 0.5)) & (np.abs(want - 0.5) > bound)).sum())
        if turned or worst > bound:
            raise BundleError(
                f"not exported: on {scorer.runtime} at batch {size}, P(fake) is off by up to {worst:.2g} (allowed "
                f"{bound:g}) and {turned} of {len(crops)} verdicts turn; choose a higher --precision"
            )
    return worst


def fixture(faces: FaceSet) -> Pixels:
    """Real crops for the gate, uint8 (N, S, S, 3): evenly from the validation rows, at most `CROPS`."""
    n = min(CROPS, len(faces))
    return np.stack([faces[int(i)].image for i in np.linspace(0, len(faces) - 1, n).round()])


def torch_margins(detector: Detector, crops: Pixels) -> Floats:
    """(N, S, S, 3) -> (N,), as the detector was trained."""
    image = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.inference_mode():
        logits = np.concatenate([detector(part).logits.numpy() for part in image.split(16)])
    return log_odds(logits, detector.classes)


def merged(detector: Detector) -> dict[str, Any]:
    """What was added for training is folded in, in place. Returns: the options that this changes."""
    merge = getattr(detector, "merge", None)
    return dict(merge()) if callable(merge) else {}


def _files(detector: Detector, folder: Path, crops: Pixels, precision: Precision) -> dict[str, Path]:
    """The files of the bundle. In int8 there is no torch file: torch would answer as another model."""
    boxed = ExportWrapper(rounded(detector, precision)).eval()
    files = {"model.onnx": folder / "model.onnx"}
    example = torch.from_numpy(crops[:2].transpose(0, 3, 1, 2).copy()).float() / 255
    write_onnx(boxed, files["model.onnx"], example)
    reduced(files["model.onnx"], precision)
    if precision != "int8":
        files["model.safetensors"] = folder / "model.safetensors"
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        state = boxed.state_dict().items()
        save_file({k: (v.to(kind) if large(v) else v).contiguous() for k, v in state}, files["model.safetensors"])
    return files


def _margins(scorer: Scorer, faces: FaceSet) -> NDArray[np.float64]:
    parts = []
    for start in range(0, len(faces), CROPS):
        crops = np.stack([faces[i].image for i in range(start, min(start + CROPS, len(faces)))])
        parts.append(log_odds(scorer.logits(crops), scorer.card.classes))
    return np.concatenate(parts).astype(np.float64)


def _calibrated(frames: Units, faces: FaceSet) -> Calibration:
    said = f"{', '.join(faces.datasets)}, validation rows of the run: {len(frames)} frames, {_groups(frames)} groups"
    found = calibrate(frames.label, frames.score, frames.group.tolist(), said)
    if found.slope <= 0:
        raise BundleError(
            "higher scores go with real faces in the validation rows: this run has learnt nothing to export"
        )
    return found


def _metrics(level: Level, found: Units, faces: FaceSet) -> Iterator[Metric]:
    """AUROC and EER on the rows that chose the weights: an upper bound, and named so."""
    for name, metric in (("AUROC", auroc), ("EER", eer)):
        got = bootstrap(metric, found.label, found.score, found.group)
        yield Metric(
            data=", ".join(faces.datasets),
            split="val",
            level=level,
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


def _groups(found: Units) -> int:
    return len(np.unique(found.group))
