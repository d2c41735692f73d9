"""The loss of an objective on validation rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from accelerate.utils import gather_object

from unmask.base.method import roles
from unmask.base.objective import Objective, Views
from unmask.tasks.loading import loaded
from unmask.tasks.recipe import Recipe
from unmask.tasks.task import Compute
from unmask.tasks.views import SentenceSet, ViewSet, views_of

HELD = 2**31 - 1  # in the place of an epoch's number: views of validation rows are the same each time


def held_loss(method: Objective, rows: ViewSet | SentenceSet, recipe: Recipe, compute: Compute) -> dict[str, float]:
    """The mean loss over whole batches of validation rows, in evaluation mode; nothing of the method is changed."""
    state = method.state_dict()
    kept = {n: state[n].clone() for n, role in roles(method).items() if role in ("averaged", "replicated")}
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in _held(rows, recipe, compute):
            total += float(sum(float(v) for v in method.loss(batch).values()))
            count += 1
        for name, value in kept.items():
            state[name].copy_(value)
    here = [total / max(1, count)]
    means = here if compute.accelerator.num_processes == 1 else gather_object(here)
    return {"loss": float(np.mean(means))}


def _held(rows: ViewSet | SentenceSet, recipe: Recipe, compute: Compute) -> Iterator[Views]:
    """Whole batches, or the one that there is; each process has its share."""
    rank, world = compute.accelerator.process_index, compute.accelerator.num_processes
    n = len(rows)
    size = min(recipe.batch, n) // world * world
    starts = range(0, n - size + 1, max(1, size))
    keys = [[(row, recipe.seed, HELD, row) for row in range(s + rank, s + size, world)] for s in starts]
    return loaded(rows, keys, views_of, workers=compute.workers, device=compute.accelerator.device)
