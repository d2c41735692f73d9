"""What a classifier's bundle has besides a detector's: calibrated classes, and a gate on what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bundles import Scorer
from unmask.bundles.classes import class_probabilities
from unmask.data.loader import FaceSet
from unmask.errors import BundleError
from unmask.measure.class_units import VIDEO, ClassUnits, class_units, codes_of, fit_temperature, softmax, strangeness
from unmask.measure.classes import numbers
from unmask.tasks.recipe import ClassLabel
from unmask.types import ClassCalibration, Floats, Metric, Pixels

REPORTED = ("accuracy", "balanced accuracy", "open-set AUROC")


@dataclass(frozen=True)
class Classes:
    """What the classes are, and the name of the class of each training and validation crop, (N,) and (M,)."""

    kind: ClassLabel
    train: NDArray[np.str_]
    validate: NDArray[np.str_]

    def tells_real(self, names: Sequence[str]) -> bool:
        """Whether the class "real" is that of real images: of one person's bundle it is that person's alone."""
        return "real" in names and self.kind != "person"


def units_of(faces: FaceSet, logits: NDArray[np.float64], truth: NDArray[np.str_]) -> ClassUnits:
    """The crops of a set, with logits (N, K), pooled to videos."""
    table = faces.manifest.table([*VIDEO, "group_id"]).take(pa.array(faces.row))
    return class_units(table, logits, truth)


def calibrated(
    classes: Classes, names: tuple[str, ...], faces: FaceSet, logits: NDArray[np.float64], said: str
) -> tuple[ClassCalibration, tuple[Metric, ...]]:
    """Temperature, strangeness by class, and numbers, on videos of validation rows.

    Args:
        names: of the card's classes. faces, logits: the validation crops, and (M, K).
        said: what they are, for the card.
    Raises: UnmaskError without a row of a known class.
    """
    found = units_of(faces, logits, classes.validate)
    code = codes_of(found.truth, names)
    known = found[code >= 0]
    if not len(known):
        raise BundleError("no validation row is of a class that was trained: there is nothing to calibrate on")
    temperature = round(fit_temperature(known.logits, code[code >= 0]), 6)
    probability = softmax(known.logits, temperature)
    calibration = ClassCalibration(
        kind=classes.kind,
        temperature=temperature,
        strangeness=strangeness(probability, code[code >= 0], names),
        data=f"{said}: {len(known)} videos or images, {len(np.unique(known.group))} groups",
    )
    return calibration, tuple(_metrics(found, names, faces))


def check_classes(scorer: Scorer, crops: Pixels, exact: Floats, calibration: ClassCalibration, bound: float) -> float:
    """The largest difference of a P(class) from that of the torch model's logits `exact` (N, K), at batch 1 and 5.

    Raises: UnmaskError where it is above the bound, or another class is the likeliest by more than the bound.
    """
    want, worst = class_probabilities(calibration, exact), 0.0
    for size in (1, 5):
        logits = np.concatenate([scorer.logits(crops[i : i + size]) for i in range(0, len(crops), size)])
        said = class_probabilities(calibration, logits)
        worst = max(worst, float(np.abs(said - want).max()))
        top = np.sort(want, 1)
        turned = int(((said.argmax(1) != want.argmax(1)) & (top[:, -1] - top[:, -2] > bound)).sum())
        if turned or worst > bound:
            raise BundleError(
                f"not exported: on {scorer.runtime} at batch {size}, P(class) is off by up to {worst:.2g} (allowed "
                f"{bound:g}) and {turned} of {len(crops)} answers turn; choose a higher --precision"
            )
    return worst


def _metrics(found: ClassUnits, names: tuple[str, ...], faces: FaceSet) -> list[Metric]:
    """On the rows that chose the weights: upper bounds, and named so."""
    real = int((faces.label == 0).sum())
    about: dict[str, Any] = {"real": real, "fake": int((faces.label == 1).sum())}
    return [
        Metric(
            data=", ".join(faces.datasets),
            split="val",
            level="video",
            name=one.name,
            value=round(one.found.value, 4),
            low=round(one.found.low, 4),
            high=round(one.found.high, 4),
            seen="validation, chose the weights",
            **about,
        )
        for one in numbers(found, names)
        if one.name in REPORTED and not np.isnan([one.found.value, one.found.low]).any()
    ]
