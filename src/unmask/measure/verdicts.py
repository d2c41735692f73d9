"""Words as verdicts: hard answers that may be unreadable, kept apart from graded scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import labels
from unmask.measure.metrics import auroc


@dataclass(frozen=True)
class HardVerdicts:
    """Fake is the positive answer; unreadable replies are errors of their class. Shares are NaN for an absent class.

    There is no area under a curve here: of hard verdicts it is `balanced` and nothing more.
    """

    real_accuracy: float
    fake_accuracy: float
    balanced: float
    precision: float
    f1: float
    unreadable: int


def hard_verdicts(label: ArrayLike, verdict: Sequence[str | None]) -> HardVerdicts:
    """Of N images: `label` (N,) 1 = fake; `verdict`: "real", "fake", or anything else for an unreadable reply."""
    y = labels(label)
    if len(y) != len(verdict):
        raise InputError(f"{len(verdict)} verdicts do not fit {len(y)} labels")
    real, fake = (np.array([v == word for v in verdict], bool) for word in ("real", "fake"))
    hits, said = int((fake & y).sum()), int(fake.sum())
    real_accuracy, fake_accuracy = _mean(real[~y]), _mean(fake[y])
    return HardVerdicts(
        real_accuracy,
        fake_accuracy,
        (real_accuracy + fake_accuracy) / 2,
        hits / said if said else float("nan"),
        2 * hits / (said + int(y.sum())) if said + y.sum() else float("nan"),
        int((~real & ~fake).sum()),
    )


def graded_auroc(label: ArrayLike, score: Sequence[float | None]) -> float:
    """AUROC of graded scores. Raises: UnmaskError where some have none: hard verdicts have no AUROC."""
    missing = sum(s is None for s in score)
    if missing:
        raise InputError(
            f"{missing} of {len(score)} verdicts are hard, without a graded score: report their balanced accuracy"
        )
    return auroc(label, np.array(score, np.float64))


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return float(values.mean()) if len(values) else float("nan")
