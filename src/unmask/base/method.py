"""What everything that trains has in common: a loss or a step, and state whose role it declares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from unmask.errors import InputError
from unmask.types import InputSpec

Role = Literal["trained", "averaged", "frozen", "replicated"]
B = TypeVar("B")  # the batch of the method's task


class Engine(Protocol):
    """What the training loop lends to `Method.step`: precision, processes and accumulation are handled by it.

    Attributes:
        step: updates of the run before this one, from 0; `steps` of the whole run, `per_epoch` of an epoch.
    """

    step: int
    steps: int
    per_epoch: int

    @property
    def done(self) -> float:
        """The part of the run that is over, 0..1: what schedules of a method (a teacher's momentum) depend on."""

    def autocast(self) -> AbstractContextManager[None]:
        """Forward passes in here run in the recipe's precision."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a scalar, its share of the batches that are accumulated."""

    def update(self) -> bool:
        """One step of the optimiser, on the mean over processes.

        Returns: whether the weights moved: not while batches are accumulated, nor in the first pass of a sharpness
            step.
        """

    def gather(self, x: Tensor) -> Tensor:
        """(N, ...) of each process -> (processes N, ...), by rank; gradients flow back (`unmask.nn.gather`)."""


@dataclass(frozen=True)
class Group:
    """Weights that are trained in their own way.

    Attributes:
        weights: names of parameters, or of modules that hold them.
        lr: factor on the recipe's learning rate.
        weight_decay: factor on the recipe's weight decay.
    """

    weights: tuple[str, ...]
    lr: float = 1.0
    weight_decay: float = 1.0


class Method(nn.Module, ABC, Generic[B]):
    """A network and what it learns by.

    Attributes:
        input: the image that it takes: size, crop, normalisation.
        roles: names of tensors, or of modules that hold them -> role, where `unmask.base.method.roles` would guess
            wrongly. A module inside may declare its own.
    """

    input: InputSpec = InputSpec()
    roles: ClassVar[Mapping[str, Role]] = {}

    @abstractmethod
    def loss(self, batch: B) -> dict[str, Tensor]:
        """Named, already weighted terms; their sum is minimised."""

    def step(self, batch: B, engine: Engine) -> dict[str, Tensor]:
        """Learn from one batch; a method with a rule of its own writes this instead of `loss`.

        Returns: the terms, for the log.
        """
        with engine.autocast():
            terms = self.loss(batch)
        engine.backward(torch.stack(list(terms.values())).sum())
        if engine.update():
            self.updated(engine)
        return terms

    def updated(self, engine: Engine) -> None:
        """After each step of the optimiser: a teacher follows, a queue takes what was seen. A `step` of its own calls
        it where `engine.update()` says that the weights moved."""

    def parameter_groups(self) -> Sequence[Group]:
        """Weights with a learning rate or decay of their own; all others are trained as the recipe says."""
        return ()

    def load_pretrained(self, weights: Path) -> None:
        """Begin from an encoder's file (a recipe's `start`).

        Raises: UnmaskError for a file that does not fit, and here: a method without an encoder.
        """
        raise InputError(f"{type(self).__name__} cannot start from an encoder: leave out start")


def roles(module: nn.Module) -> dict[str, Role]:
    """The role of each tensor of `state_dict`, in its order; a tensor that has two names has the first.

    trained      the optimiser moves it
    averaged     a running mean: statistics of normalisation, the weights of a momentum teacher
    frozen       stays as it was built or loaded
    replicated   what the method itself writes, the same on all processes: queues, counters

    What no module declares: parameters that require a gradient are trained, others are frozen; buffers of floats are
    averaged, of whole numbers replicated. Of two declarations the longer name counts, of equal ones the outer module's.

    Raises: TypeError for a declaration that names nothing, or cannot be.
    """
    named: dict[str, Tensor] = dict(module.named_parameters())
    persistent = module.state_dict(keep_vars=True).keys()
    named |= {name: buffer for name, buffer in module.named_buffers() if name in persistent}
    declared: dict[str, Role] = {}
    for at, part in module.named_modules():
        for name, role in getattr(part, "roles", {}).items():
            full = ".".join(word for word in (at, name) if word)
            declared.setdefault(full, role)
            if not any(_within(tensor, full) for tensor in persistent):
                raise TypeError(f"{type(part).__name__}.roles names {name!r}, and there is no such tensor or module")
    found: dict[str, Role] = {}
    for name in (n for n in persistent if n in named):
        prefix = max((p for p in declared if _within(name, p)), key=len, default=None)
        found[name] = _default(named[name]) if prefix is None else declared[prefix]
        _check(name, named[name], found[name])
    return found


def _within(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


def _default(tensor: Tensor) -> Role:
    if isinstance(tensor, nn.Parameter):
        return "trained" if tensor.requires_grad else "frozen"
    return "averaged" if tensor.is_floating_point() else "replicated"


def _check(name: str, tensor: Tensor, role: Role) -> None:
    parameter = isinstance(tensor, nn.Parameter)
    if role == "trained" and not parameter:
        raise TypeError(f"{name} is declared trained, and is a buffer: make it a Parameter")
    if role != "trained" and parameter and tensor.requires_grad:
        raise TypeError(f"{name} is declared {role}, and requires a gradient: call requires_grad_(False)")


def check_image(image: Any, frames: int = 1) -> None:
    """Raises: UnmaskError unless it is a tensor (B, 3, H, W) of floats, or of windows (B, `frames`, 3, H, W)."""
    axes = (3,) if frames == 1 else (frames, 3)
    if not isinstance(image, Tensor) or image.shape[1:-2] != axes or not image.is_floating_point():
        form = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        what = "images are" if frames == 1 else f"this method takes windows of {frames} frames:"
        raise InputError(f"{what} float tensors (B, {', '.join(map(str, axes))}, H, W), RGB in 0..1, not {form}")
