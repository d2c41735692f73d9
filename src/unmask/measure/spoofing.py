"""Presentation attacks in the terms of ISO/IEC 30107-3. Label 1 = attack; a score >= the threshold = attack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.measure.inputs import checked, same_length
from unmask.measure.metrics import threshold_at_eer


@dataclass(frozen=True)
class Spoofing:
    """Error rates at one threshold; NaN for a class without rows.

    `apcer`: for each attack type, in sorted order of `types`, the share of its rows taken for bona fide.
    `worst`: the largest of them. `bpcer`: share of bona fide rows called attacks. `acer` = (worst + bpcer) / 2.
    `hter` = (FAR + FRR) / 2 with FAR over all attacks together, whatever their type.
    """

    threshold: float
    types: tuple[str, ...]
    apcer: tuple[float, ...]
    worst: float
    bpcer: float
    acer: float
    hter: float


def spoofing(label: ArrayLike, score: ArrayLike, attack: ArrayLike, threshold: float) -> Spoofing:
    """Rates at a threshold that was fixed on development data: `development_threshold`.

    Args:
        attack: (N,) the attack's type; not read where `label` is 0.
    """
    y, s = checked(label, score)
    kind = np.asarray(attack)
    same_length(label=y, attack=kind)
    missed, false = s[y] < threshold, s[~y] >= threshold
    types = np.unique(kind[y])
    apcer = tuple(float(missed[kind[y] == t].mean()) for t in types)
    worst = max(apcer, default=float("nan"))
    bpcer = float(false.mean()) if len(false) else float("nan")
    far = float(missed.mean()) if len(missed) else float("nan")
    return Spoofing(threshold, tuple(map(str, types)), apcer, worst, bpcer, (worst + bpcer) / 2, (far + bpcer) / 2)


def development_threshold(label: ArrayLike, score: ArrayLike) -> float:
    """The EER threshold of *development* rows. Papers that take it from the test rows report a number nobody can reach.

    Raises: UnmaskError without both classes.
    """
    return threshold_at_eer(label, score)
