"""What a callback is: code around each step of any method, with state that goes into checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from unmask.base.method import Engine as Lent
from unmask.train.checkpoint import State

Step = Callable[[Any, "Engine"], dict[str, Tensor]]  # (batch, engine) -> the terms


class Engine(Lent, Protocol):
    """What a callback sees besides what a method does.

    Attributes:
        first_pass, last_pass: a sharpness step looks at its batches twice; otherwise one look is both.
    """

    first_pass: bool
    last_pass: bool


class Callback:
    """`name`: its key in a recipe."""

    name: str

    def before_step(self, batch: Any, engine: Engine) -> Any:
        """The batch that the method is to learn from."""
        return batch

    def around_step(self, batch: Any, engine: Engine, step: Step) -> dict[str, Tensor]:
        """Calls `step`, or does something else instead. Returns: the terms, for the log."""
        return step(batch, engine)

    def after_update(self) -> None:
        """Once the optimiser has moved the weights."""

    def saved(self) -> tuple[State, dict[str, Any]]:
        """Tensors and plain facts that the next step depends on."""
        return {}, {}

    def restore(self, held: State, facts: dict[str, Any], what: str) -> None:
        """The reverse. Raises: UnmaskError for a checkpoint of another model; `what` names it."""
