"""What the training loop asks of a task: a method, rows in batches, and numbers of validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator

from unmask.base.method import Method
from unmask.data.loader import Key
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.tasks.recipe import Recipe

R_contra = TypeVar("R_contra", bound=Recipe, contravariant=True)


@dataclass(frozen=True)
class Compute:
    """What validation may use: the processes, workers that read images for each, and the recipe's precision."""

    accelerator: Accelerator
    batch: int  # images at a time, in each process
    workers: int = 0
    bf16: bool = False


class Rows(Protocol):
    """The rows of a run."""

    @property
    def manifest(self) -> Manifest:
        """Where they stand; its digest is part of the run's identity."""

    def __len__(self) -> int:
        """Rows that a batch's `index` may name."""

    def note(self) -> str:
        """What should be known before a long run; nothing if there is nothing to say."""

    def plan(self, epoch: int) -> Plan:
        """The batches of one epoch, a function of the recipe's seed and the epoch alone."""

    def batches(
        self, keys: Sequence[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[Any]:
        """Each list of a plan's keys as a batch of the task's type. Raises: UnmaskError that names a file."""

    def measure(self, method: Method[Any], compute: Compute) -> dict[str, float]:
        """Validation numbers by name, the same in all processes; the recipe's `best` is one of them.

        Raises: UnmaskError for a method whose answers are not finite.
        """


class Task(Protocol[R_contra]):
    """
    Attributes:
        name: the recipe's `task`.
        exports: what `unmask export` makes of a run: the bundle of a detector, or an encoder's file.
    """

    @property
    def name(self) -> str: ...

    @property
    def exports(self) -> str: ...

    def resolved(self, recipe: R_contra, data: Path) -> Recipe:
        """The recipe with what it leaves to the data (classes), so that the run folder says it."""

    def build(self, recipe: R_contra) -> Method[Any]:
        """The method with random weights. Raises: UnmaskError for an unknown method or option."""

    def rows(self, recipe: R_contra, data: Path, method: Method[Any]) -> Rows:
        """Raises: UnmaskError for rows that the task cannot learn from, or measure on."""
