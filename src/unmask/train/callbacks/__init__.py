"""Training rules that wrap any method's step, one file each. The engine knows none of them by name.

A callback is named like its key in a recipe, and its tensors in a checkpoint are.
"""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator

from unmask.base.method import Method
from unmask.tasks.recipe import LabelledRecipe, Recipe
from unmask.train.callbacks.callback import Callback


def chosen(
    recipe: Recipe, method: Method[Any], accelerator: Accelerator, *, rows: int = 0, steps: int = 1
) -> list[Callback]:
    """Those that a recipe asks for, the outermost first.

    Args:
        rows: of the training set, for what is remembered of each.
        steps: of the whole run.
    Raises: UnmaskError for a method that one does not go with.
    """
    from unmask.train.callbacks.adv_scm import Adversary
    from unmask.train.callbacks.adversarial import AdversarialTraining
    from unmask.train.callbacks.difficulty import Boosting

    found: list[Callback] = []
    if not isinstance(recipe, LabelledRecipe):
        return found
    if recipe.difficulty:
        found.append(Boosting(recipe.difficulty, rows, steps, accelerator))
    if recipe.adv_scm:
        found.append(Adversary(recipe.adv_scm, method, recipe.seed, recipe.accumulate, accelerator))
    if recipe.adversarial:
        found.append(AdversarialTraining(recipe.adversarial, method))
    return found
