"""Rows of all processes as one tensor, through which gradients flow back to the process that each row came from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def gather(x: Tensor) -> Tensor:
    """(N, ...) of each process -> (processes N, ...), in the order of their ranks; the same N everywhere.

    If each process computes a loss of the gathered rows, and gradients of weights are averaged over processes, the
    result is exactly the gradient of the mean of the losses: as one process with the whole batch has it. (Without the
    gradient of rows that came from elsewhere, a contrastive gradient has about half the length.)
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def place(rows: int) -> int:
    """Where this process's own `rows` begin among the gathered ones."""
    return rows * dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)  # what the losses of all processes want of every row
        begin = place(ctx.rows)
        return total[begin : begin + ctx.rows]
