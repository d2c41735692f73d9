"""A contrastive batch larger than memory: embed it in chunks, keep the gradient of embeddings, go back by chunk.

Gao et al.: "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache), arXiv 2101.06983.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unmask.errors import InputError


def cached_backward(
    encode: nn.Module,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    chunk: int,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """Adds the gradient of loss(encode(inputs)) to the weights, with the graph of one chunk in memory at a time.

    Every chunk is embedded twice, the second time with the same random numbers (dropout).

    Args:
        inputs: (N, ...).
        loss: embeddings (N, D) -> a scalar.
        chunk: rows embedded together.
        backward: of the loss, such as an engine's, which may scale it.
    Returns: the loss, without a graph.
    Raises: UnmaskError for an encoder with batch normalisation that is in training: its answer to a chunk would not be
        that to the whole batch.
    """
    return cached_backward_of([(encode, inputs.split(chunk))], loss, inputs.device.type, backward)


def cached_backward_of(
    sides: Sequence[tuple[nn.Module | Callable[[Any], Tensor], Sequence[Any]]],
    loss: Callable[..., Tensor],
    device: str,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """The same of several encoders, whose embeddings meet in one loss: images and captions.

    Args:
        sides: encoders and their inputs in chunks, of any form.
        loss: embeddings (N, D) of each side -> a scalar; what it learns itself gets its gradient too.
        device: type of the device, whose random numbers are repeated.
    """
    for encode, _ in sides:
        _check(encode)
    embedded, states = [], []
    with torch.no_grad():
        for encode, parts in sides:
            found = []
            for part in parts:
                states.append(_random_state(device))
                found.append(encode(part))
            embedded.append(torch.cat(found).requires_grad_())
    value = loss(*embedded)
    backward(value)
    after, number = _random_state(device), 0
    for (encode, parts), embedding in zip(sides, embedded, strict=True):
        assert embedding.grad is not None
        begin = 0
        for part in parts:
            _set_random_state(states[number], device)
            again = encode(part)
            if again.requires_grad:  # an encoder that is frozen has nothing to learn
                torch.autograd.backward(again, embedding.grad[begin : begin + len(again)])
            begin, number = begin + len(again), number + 1
    _set_random_state(after, device)
    return value.detach()


def _check(encode: object) -> None:
    owner = encode if isinstance(encode, nn.Module) else getattr(encode, "__self__", None)
    for name, module in owner.named_modules() if isinstance(owner, nn.Module) else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise InputError(f"{name} normalises over the batch, so it cannot be embedded in chunks: use eval() for it")


def _random_state(device: str) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: str) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
