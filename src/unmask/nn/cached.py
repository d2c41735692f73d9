"""A contrastive batch larger than memory: embed it in chunks, keep the gradient of embeddings, go back by chunk.

Gao et al.: "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache), arXiv 2101.06983.
"""

from __future__ import annotations

from collections.abc import Callable

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
    for name, module in encode.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise InputError(f"{name} normalises over the batch, so it cannot be embedded in chunks: use eval() for it")
    device = inputs.device.type
    parts, states = inputs.split(chunk), []
    with torch.no_grad():
        found = []
        for part in parts:
            states.append(_random_state(device))
            found.append(encode(part))
    embeddings = torch.cat(found).requires_grad_()
    value = loss(embeddings)
    backward(value)
    assert embeddings.grad is not None
    after = _random_state(device)
    for part, grad, state in zip(parts, embeddings.grad.split(chunk), states, strict=True):
        _set_random_state(state, device)
        torch.autograd.backward(encode(part), grad)
    _set_random_state(after, device)
    return value.detach()


def _random_state(device: str) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: str) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
