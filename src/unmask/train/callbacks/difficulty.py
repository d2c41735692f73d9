"""Momentum difficulty boosting: what a detector finds hard, on the average of the last epochs, counts more.

Each training row keeps a difficulty d, to which every visit adds what the row was like this time (u = 1 - P of its true
class): d <- m d + (1 - m) u. Its cross-entropy counts w = (d + epsilon)^gamma, scaled to a mean of 1. The momentum m is
what tells a hard row from one that augmentation made hard once; m = 0 is plain focal-like weighting, gamma = 0 none.

"Diffusion Deepfake", 2024, arXiv 2404.01579, says so much: weights that follow a learning difficulty smoothed by
momentum. There is no public code, and the formulas above and all defaults are ours: a re-implementation from a
description, not the paper's numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.errors import RecipeError
from unmask.tasks.settings import Difficulty
from unmask.train import checkpoint
from unmask.train.callbacks.callback import Callback, Engine, Step
from unmask.train.checkpoint import State


class Boosting(Callback):
    """The difficulties of all training rows, and the weights that come of them."""

    name = "difficulty"

    def __init__(self, recipe: Difficulty, rows: int, steps: int, accelerator: Accelerator) -> None:
        """
        Args:
            rows: of the training set; `Batch.index` counts them.
            steps: of the whole run; gamma rises over the first of them.
        """
        self.recipe, self.accelerator = recipe, accelerator
        self.rise = recipe.ramp * steps
        self.rows = torch.ones(rows, dtype=torch.double, device=accelerator.device)

    def around_step(self, batch: Batch, engine: Engine, step: Step) -> dict[str, Tensor]:
        """The step on a batch that says how much each of its images counts."""
        if not isinstance(batch, Batch):
            raise RecipeError("difficulty weighs rows with labels: leave it out of this recipe")
        weigher = self.weigher(batch, engine.step, keep=engine.last_pass)
        return step(replace(batch, weigh=weigher), engine) | weigher.said()

    def saved(self) -> tuple[State, dict[str, Any]]:
        return {"rows": self.rows}, {}

    def restore(self, held: State, facts: dict[str, Any], what: str) -> None:
        checkpoint.fill({"rows": self.rows}, held, what)

    def weigher(self, batch: Batch, step: int, keep: bool = True) -> Weigher:
        """The weights of a batch, to be handed to the method as `Batch.weigh`.

        Args:
            keep: whether this visit counts; false where the same batch is looked at twice in a step.
        """
        if batch.index is None:
            raise RecipeError("difficulty needs batches that say which row is which: train on a manifest of faces")
        return Weigher(self, batch.index, batch.label, self.recipe.gamma * min(1.0, step / max(self.rise, 1e-9)), keep)


class Weigher:
    """`Batch.weigh` of one batch: the first call decides, later ones get the same weights."""

    def __init__(self, of: Boosting, index: Tensor, label: Tensor, gamma: float, keep: bool) -> None:
        self.of, self.index, self.label, self.gamma, self.keep = of, index, label, gamma, keep
        self.found: Tensor | None = None  # (B,)
        self.difficulty = torch.zeros(())

    @torch.no_grad()
    def __call__(self, logits: Tensor) -> Tensor:
        """(k B, K), k views of the batch one after the other -> (B,); no gradient flows into it."""
        if self.found is None:
            recipe, among = self.of.recipe, self.of.accelerator
            u = hardness(logits.detach().double(), self.label, recipe.of)
            index, label, u = (among.gather(x) for x in (self.index, self.label, u))  # of the whole batch
            ids, place = index.unique(return_inverse=True)
            d = moved(self.of.rows[ids], mean_by(u, place, len(ids)), recipe.momentum)
            if self.keep:
                self.of.rows[ids] = d
            self.difficulty = d.mean()
            w = weights(d[place], self.gamma, recipe.epsilon, recipe.clip, label if recipe.per_class else None)
            first = among.process_index * len(self.index)
            self.found = w[first : first + len(self.index)].to(logits.dtype)
        return self.found

    def said(self) -> dict[str, Tensor]:
        """For the log: the batch's mean difficulty and its largest weight. Raises: UnmaskError if nobody asked."""
        if self.found is None:
            raise RecipeError(
                "this method's loss does not weigh images, so difficulty would change nothing: leave it out, or "
                "have the loss call unmask.base.detector.cross_entropy"
            )
        return {"difficulty": self.difficulty, "weight_most": self.found.max()}


# --- the formulas ----------------------------------------------------------------------------------------------------


def hardness(logits: Tensor, label: Tensor, of: Literal["probability", "loss"] = "probability") -> Tensor:
    """How hard each image is right now: 1 - P(its class), in 0..1, or its cross-entropy in nats; mean over views.

    Args:
        logits: (k B, K); label: (B,).
    Returns: (B,)
    """
    views = len(logits) // len(label)
    loss = F.cross_entropy(logits, label.repeat(views), reduction="none")
    return (loss if of == "loss" else 1 - torch.exp(-loss)).view(views, -1).mean(0)


def moved(d: Tensor, u: Tensor, momentum: float) -> Tensor:
    """d <- m d + (1 - m) u; after t visits d_t = m^t d_0 + (1 - m) sum_k m^(t - k) u_k."""
    return momentum * d + (1 - momentum) * u


def weights(d: Tensor, gamma: float, epsilon: float, clip: tuple[float, float], label: Tensor | None = None) -> Tensor:
    """w = (d + epsilon)^gamma over its mean, clipped, over its mean again: exactly mean 1, the bounds about.

    Args:
        d: (B,) difficulties, >= 0.
        label: (B,) where each class is to have mean 1 of its own.
    """
    w = _level((d + epsilon) ** gamma, label).clamp(*clip)
    return _level(w, label)


def mean_by(values: Tensor, place: Tensor, count: int) -> Tensor:
    """Mean of the values (B,) that share a place 0..count-1 -> (count,): a row may stand in a batch twice."""
    total = torch.zeros(count, dtype=values.dtype, device=values.device).index_add_(0, place, values)
    return total / torch.bincount(place, minlength=count)


def _level(w: Tensor, label: Tensor | None) -> Tensor:
    if label is None:
        return w / w.mean()
    kinds, place = label.unique(return_inverse=True)
    return w / mean_by(w, place, len(kinds))[place]
