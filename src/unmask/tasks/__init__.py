"""What a training run is about: rows, batches, validation numbers and what export means, one file a task."""

from __future__ import annotations

from typing import Any

from unmask.tasks.recipe import Recipe
from unmask.tasks.task import Task


def task(recipe: Recipe) -> Task[Any]:
    """The task of a recipe. Raises: UnmaskError for one that has none."""
    from unmask.errors import RecipeError
    from unmask.tasks.classification import Classification
    from unmask.tasks.detection import Detection
    from unmask.tasks.pretraining import Pretraining

    tasks: dict[str, Task[Any]] = {t.name: t for t in (Detection(), Classification(), Pretraining())}
    if recipe.task not in tasks:
        raise RecipeError(f"no task {recipe.task!r}; there is {', '.join(tasks)}")
    return tasks[recipe.task]
