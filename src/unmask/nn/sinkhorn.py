"""Balanced assignment of samples to prototypes (Cuturi, NIPS 2013; SeLa and SwAV), in the log domain."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.nn.precision import full


@torch.no_grad()
def sinkhorn(
    scores: Tensor,
    epsilon: float = 0.05,
    iterations: int = 3,
    *,
    queued: Tensor | None = None,
    gather: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Codes near softmax(scores / epsilon) that use all prototypes about equally.

    Each iteration divides by the sums of the prototypes, over all samples, then by the sums of each sample. The usual
    factors 1 / K and 1 / B cancel. exp(1 / 0.05) is infinite in float16, so sums are taken of logarithms.

    Args:
        scores: (B, K) of this process.
        epsilon: softness; smaller is nearer to one prototype a sample.
        queued: (Q, K) scores of earlier samples, the same in every process, which have a say in the balance.
        gather: (1, K) of this process -> (processes, K), where the balance is over all of them; None = this one alone.
    Returns: (B, K), each row a distribution, in float32 at least.
    """
    log_q = full(scores) / epsilon
    log_r = None if queued is None else full(queued) / epsilon
    for _ in range(iterations):
        mass = log_q.logsumexp(0, keepdim=True)
        if gather is not None:
            mass = gather(mass)
        if log_r is not None:
            mass = torch.cat([mass, log_r.logsumexp(0, keepdim=True)])
        used = mass.logsumexp(0)
        log_q = (log_q - used).log_softmax(1)
        if log_r is not None:
            log_r = (log_r - used).log_softmax(1)
    return log_q.softmax(1)


def effective_prototypes(codes: Tensor) -> Tensor:
    """exp of the entropy of how often each prototype is the largest of a row: K = all used alike, 1 = collapsed.

    Args:
        codes: (B, K), codes or scores.
    """
    share = torch.bincount(codes.argmax(1), minlength=codes.shape[1]).double() / len(codes)
    effective: Tensor = torch.special.entr(share).sum().exp()
    return effective
