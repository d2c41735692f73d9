"""Are two faces one person: LFW's rule of ten folds. A smaller distance = more alike; label 1 = the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Bools, Float64s, checked, codes, same_length


@dataclass(frozen=True)
class Verification:
    """Each fold scored at the threshold of the other folds: `accuracy`, `val`, `far` are means, `_std` over folds.

    `accuracies`, `vals`: of each fold, in the order of their names; folds of disjoint people are independent.
    `accepted`: pairs of different people accepted over all folds, of `different`: at FAR 0.001 on LFW about three
    decide VAL, so print them beside it.
    """

    accuracy: float
    accuracy_std: float
    thresholds: tuple[float, ...]
    val: float
    val_std: float
    far: float
    accepted: int
    different: int
    accuracies: tuple[float, ...] = ()
    vals: tuple[float, ...] = ()


def verify(
    same: ArrayLike, distance: ArrayLike, fold: ArrayLike, target: float = 1e-3, farthest: float = 4.0
) -> Verification:
    """Accuracy and VAL@FAR over folds, FaceNet's grids: 0..`farthest` by 0.01 for accuracy and by 0.001 for VAL.

    A pair is accepted below the threshold. For VAL the largest threshold whose FAR on the other folds is at most
    `target` (0 if none): no interpolation, which is undefined where the FAR repeats.

    Args:
        same, distance, fold: (N,); LFW has 10 folds of 600 pairs in file order, distances are squared L2 in 0..4.

    Raises: UnmaskError for fewer than two folds or a fold without both kinds of pairs.
    """
    y, d = checked(same, distance)
    which, folds = codes(fold, "fold")
    same_length(same=y, fold=which)
    held = [(y[which == k], d[which == k], y[which != k], d[which != k]) for k in range(folds)]
    poor = [k for k, (test, *_) in enumerate(held) if test.all() or not test.any()]
    if folds < 2 or poor:
        raise InputError(
            f"verification needs two folds or more, each with both kinds of pairs: {folds} given, poor {poor}"
        )
    coarse, fine = np.arange(0, farthest, 0.01), np.arange(0, farthest, 0.001)
    best = [float(coarse[np.argmax(_right(ty, td, coarse))]) for _, _, ty, td in held]
    accuracy = [float(((x < t) == z).mean()) for (z, x, *_), t in zip(held, best, strict=True)]
    strict = [_largest(td[~ty], fine, target) for _, _, ty, td in held]
    val = [float((x[z] < t).mean()) for (z, x, *_), t in zip(held, strict, strict=True)]
    taken = [int((x[~z] < t).sum()) for (z, x, *_), t in zip(held, strict, strict=True)]
    far = [n / int((~z).sum()) for n, (z, *_) in zip(taken, held, strict=True)]
    return Verification(
        accuracy=float(np.mean(accuracy)),
        accuracy_std=float(np.std(accuracy)),
        thresholds=tuple(best),
        val=float(np.mean(val)),
        val_std=float(np.std(val)),
        far=float(np.mean(far)),
        accepted=sum(taken),
        different=int((~y).sum()),
        accuracies=tuple(accuracy),
        vals=tuple(val),
    )


def _right(y: Bools, d: Float64s, grid: Float64s) -> Float64s:
    same, other = np.sort(d[y]), np.sort(d[~y])
    return np.asarray(
        np.searchsorted(same, grid, "left") + len(other) - np.searchsorted(other, grid, "left"), np.float64
    )


def _largest(different: Float64s, grid: Float64s, target: float) -> float:
    far = np.searchsorted(np.sort(different), grid, "left") / len(different)
    return float(grid[max(0, int(np.searchsorted(far, target, "right")) - 1)])
