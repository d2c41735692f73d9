"""What every decoding rule is: what the passes of one step say in, scores of the next token out.

A rule reads the logits of the original prompt and image, and those of further passes ("branches"): a changed image, no
image, another model. It never runs a model itself; `unmask.nn.decoding.DecodingProcessor` does, inside transformers'
`generate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from unmask.errors import InputError


@dataclass(frozen=True)
class Step:
    """What is known before one token.

    Attributes:
        logits: (B, V) of the original.
        branches: name -> (B, V).
        layers: (L, B, V), what the final head reads out of each layer of the original, lowest first, the last among
            them; only for rules with `reads_layers`.
        branch_layers: name -> (L, B, V).
        position: tokens written so far.
    """

    logits: Tensor
    branches: Mapping[str, Tensor] = field(default_factory=dict)
    layers: Tensor | None = None
    branch_layers: Mapping[str, Tensor] = field(default_factory=dict)
    position: int = 0


class Decoder(ABC):
    """Scores the next token. `branches`: the passes that it reads besides the original."""

    branches: tuple[str, ...] = ()
    reads_layers: bool = False

    @final
    def __call__(self, step: Step) -> Tensor:
        """Scores (B, V) to sample from; -inf where a token is ruled out, never a whole row.

        Raises: UnmaskError for a branch or layers that are needed and not there, or of another shape.
        """
        for name in self.branches:
            if name not in step.branches:
                raise InputError(f"{type(self).__name__} needs the branch {name!r}")
            if step.branches[name].shape != step.logits.shape:
                raise InputError(
                    f"branch {name!r} has logits {tuple(step.branches[name].shape)}, the original "
                    f"{tuple(step.logits.shape)}: both must be one model's vocabulary"
                )
        if self.reads_layers and step.layers is None:
            raise InputError(f"{type(self).__name__} reads hidden layers, and this model gives none")
        scores = self.run(step)
        if scores.shape != step.logits.shape or torch.isnan(scores).any() or (scores == torch.inf).any():
            raise TypeError(f"{type(self).__name__} must return scores {tuple(step.logits.shape)} without NaN or +inf")
        if not torch.isfinite(scores).any(-1).all():
            raise TypeError(f"{type(self).__name__} rules out every token")
        return scores

    @abstractmethod
    def run(self, step: Step) -> Tensor:
        """The rule itself, on checked arguments: (B, V)."""


def plausible(logits: Tensor, beta: float) -> Tensor:
    """(B, V) -> bool: tokens with at least `beta` times the probability of the likeliest (Li et al. 2023, eq. 3).

    beta = 0 keeps all, beta = 1 only the likeliest.
    """
    if beta <= 0:
        return torch.ones_like(logits, dtype=torch.bool)
    return logits >= logits.amax(-1, keepdim=True) + torch.log(torch.tensor(beta, dtype=logits.dtype))
