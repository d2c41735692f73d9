"""The parity gate: an exported model must answer as the trained one does, on real crops, in each runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unmask.bundles import Scorer
from unmask.bundles.calibration import log_odds, probabilities
from unmask.data.loader import FaceSet
from unmask.errors import BundleError
from unmask.exporting.precision import Precision
from unmask.types import Calibration, Floats, Pixels

# Largest difference of P(fake) from the float32 torch model. For float32 that is rounding; the others are given what
# their precision is expected to cost. More is a fault of the export, or a model that does not bear it.
BOUNDS: dict[Precision, float] = {"fp32": 0.001, "fp16": 0.01, "bf16": 0.02, "int8": 0.05}
CROPS = 64


@dataclass(frozen=True)
class Parity:
    """The largest difference of P(fake) between torch and the exported model, on so many crops, and what is allowed."""

    worst: float
    bound: float
    crops: int
    runtimes: tuple[str, ...]


def parity_crops(faces: FaceSet) -> Pixels:
    """Real crops for the gate, uint8 (N, S, S, 3): evenly from these rows, at most `CROPS`."""
    n = min(CROPS, len(faces))
    return np.stack([faces[int(i)].image for i in np.linspace(0, len(faces) - 1, n).round()])


def check_parity(scorer: Scorer, crops: Pixels, exact: Floats, calibration: Calibration, bound: float) -> float:
    """The largest difference of P(fake) from that of the log-odds `exact` (N,), one by one and in batches of five.

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
