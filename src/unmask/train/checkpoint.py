"""Tensors and plain facts in one safetensors file that is whole or absent: nothing is pickled, nothing half written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unmask.base.method import Role, roles
from unmask.errors import CheckpointError

FORM = "unmask.checkpoint/1"
State = dict[str, Tensor]


def save(path: Path, tensors: State, facts: dict[str, Any]) -> None:
    """Facts are what JSON can hold; its numbers come back bitwise."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        stored = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
        save_file(stored, partial, {"unmask": FORM, "facts": json.dumps(facts)})
        partial.chmod(0o644)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[State, dict[str, Any]]:
    """What `save` wrote. Raises: UnmaskError for a file that cannot be read, or was written by something else."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
    if metadata.get("unmask") != FORM:
        raise CheckpointError(f"{path} is no checkpoint of `unmask train`")
    return tensors, json.loads(metadata["facts"])


def facts(path: Path) -> dict[str, Any]:
    """The facts of what `save` wrote, its tensors left unread. Raises: UnmaskError as `load` does."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
    if metadata.get("unmask") != FORM:
        raise CheckpointError(f"{path} is no checkpoint of `unmask train`")
    found: dict[str, Any] = json.loads(metadata["facts"])
    return found


def boxed(path: Path) -> State:
    """The detector's tensors of a bundle's `model.safetensors`; none if the file is something else."""
    try:
        with safe_open(path, "pt") as file:
            return below("detector", {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        return {}


def learnt(module: nn.Module) -> State:
    """What a run changes: all tensors but the frozen ones (`unmask.base.method.roles`). They are the module's own."""
    return _of(module, lambda role: role != "frozen")


def frozen(module: nn.Module) -> State:
    """What does not change: written once for a run, not with each checkpoint."""
    return _of(module, lambda role: role == "frozen")


def _of(module: nn.Module, wanted: Callable[[Role], bool]) -> State:
    state = module.state_dict()
    return {name: state[name] for name, role in roles(module).items() if wanted(role)}


@torch.no_grad()
def fill(state: State, values: State, what: str) -> None:
    """Copy values into the tensors of a state. Raises: UnmaskError unless names and shapes are the same."""
    own, given = ({k: tuple(v.shape) for k, v in s.items()} for s in (state, values))
    if own != given:
        wrong = sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k))
        raise CheckpointError(
            f"{what} is of another model: it differs in {', '.join(wrong[:4])} ({len(wrong)} tensors)"
        )
    for name, value in state.items():
        value.copy_(values[name])


def of_optimizer(optimizer: torch.optim.Optimizer) -> tuple[State, dict[str, Any]]:
    """Its state as tensors named "number.key", and what of it is no tensor."""
    tensors: State = {}
    plain: dict[str, Any] = {}
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            (tensors if isinstance(value, Tensor) else plain)[f"{number}.{key}"] = value
    return tensors, plain


def into_optimizer(optimizer: torch.optim.Optimizer, tensors: State, plain: dict[str, Any]) -> None:
    """The reverse; rates and the like stay as they are, for the recipe says them."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def under(prefix: str, state: State) -> State:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def below(prefix: str, state: State) -> State:
    return {n.removeprefix(f"{prefix}."): v for n, v in state.items() if n.startswith(f"{prefix}.")}
