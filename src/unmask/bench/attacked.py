"""Any detector of a bench under a black-box attack: what it says of fakes that were changed against it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask import registry
from unmask.base.attack import Attack
from unmask.base.predict import to_tensor
from unmask.bench.scorers import FittedScorer
from unmask.bench.scoring import ScoreFunction
from unmask.errors import RecipeError
from unmask.types import Pixels


def under_attack(detector: FittedScorer, asked: str) -> FittedScorer:
    """The same detector, whose fakes come to it attacked; its hash says so.

    The stored crop is attacked, before the detector cuts it to its own size, and rounded to 8 bits. An attack stops
    where the raw log-odds turn. Reals stay as they are.

    Args:
        asked: "square@4/255": an attack with its defaults, and its budget.
    Raises: UnmaskError for an unknown attack, one that needs more than scores, and a budget that is no number.
    """
    name, _, budget = asked.partition("@")
    attack: Attack = registry.create("attack", name)
    if not attack.black_box:
        raise RecipeError(f"a protocol attacks any detector by its scores, and {name} needs gradients: `unmask attack`")
    try:
        size = float(Fraction(budget))
    except (ValueError, ZeroDivisionError):
        raise RecipeError(f"{asked!r} is no attack with a budget, as square@4/255") from None
    parts = (detector.sha256, asked, registry.FAMILIES["attack"].sha256(name))
    sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return FittedScorer(f"{detector.name}, {asked}", sha256, _attacking(detector.scorer, attack, size))


def _attacking(scorer: ScoreFunction, attack: Attack, budget: float) -> ScoreFunction:
    def score(
        crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        changed = list(crops)
        for shape in {crop.shape for crop in crops}:
            at = [i for i, r in enumerate(rows) if r["label"] == 1 and crops[i].shape == shape]
            if at:
                made = _attacked(scorer, attack, budget, [crops[i] for i in at], [rows[i] for i in at])
                changed = [made[at.index(i)] if i in at else crop for i, crop in enumerate(changed)]
        return scorer(changed, rows)

    return score


def _attacked(
    scorer: ScoreFunction, attack: Attack, budget: float, crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]
) -> Pixels:
    """One after the other: the detector must know which row it is asked about."""
    made = []
    for crop, row in zip(crops, rows, strict=True):

        def logits(image: Tensor, row: dict[str, Any] = row) -> Tensor:
            pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            said = scorer(list(pixels), [row] * len(pixels))[0]
            return torch.from_numpy(np.stack([np.zeros(len(said)), said], 1)).float()

        found = attack(logits, to_tensor(crop[None]).contiguous(), torch.ones(1, dtype=torch.long), [budget])
        made.append((found.image[0, 0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    return np.stack(made)
