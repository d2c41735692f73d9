"""DoLa: what the last layer adds to an early one.

The idea in three sentences. Facts are found in the upper layers of a language model, while early layers already know
what is fluent. So the log-probabilities read out of an early layer are subtracted from those of the last. Of a set of
early layers the one is taken that differs most from the last, by the Jensen-Shannon divergence.

Chuang et al., "DoLa: Decoding by Contrasting Layers Improves Factuality in Large Language Models", ICLR 2024,
arXiv 2309.03883.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.base.decoder import Decoder, Step, plausible
from unmask.errors import InputError

CARD = {
    "title": "DoLa (decoding by contrasting layers)",
    "paper": "Chuang et al., ICLR 2024, arXiv 2309.03883",
    "task": "logits of the last and of early layers -> scores of the next token",
    "licence": "Apache-2.0",
    "verified": "divergence and contrast by hand; no published benchmark was run",
    "small": {"layers": [0, 1]},
}


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Of log-probabilities (..., V), in nats: (...)."""
    middle = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0, dtype=log_p.dtype))
    return 0.5 * ((log_p.exp() * (log_p - middle)).sum(-1) + (log_q.exp() * (log_q - middle)).sum(-1))


class DoLa(Decoder):
    """log p_last - log p_early, on tokens that the last layer finds plausible."""

    reads_layers = True

    def __init__(self, *, layers: Sequence[int] = (0, 2, 4, 6, 8, 10, 12, 14), beta: float = 0.1) -> None:
        """
        Args:
            layers: candidates for the early layer; 0 = the lowest that is read.
            beta: of `unmask.base.decoder.plausible`.
        """
        if not layers:
            raise InputError("dola needs at least one early layer to contrast with")
        self.layers, self.beta = tuple(layers), beta

    def run(self, step: Step) -> Tensor:
        assert step.layers is not None
        if max(self.layers) >= len(step.layers) - 1:
            raise InputError(f"the early layers must lie below the last of {len(step.layers)}, not {self.layers}")
        last = step.layers[-1].log_softmax(-1)
        early = step.layers[list(self.layers)].log_softmax(-1)
        chosen = jensen_shannon(last, early).argmax(0)  # (B,), for each row the layer that differs most
        base = early[chosen, torch.arange(len(last), device=last.device)]
        return (last - base).masked_fill(~plausible(step.layers[-1], self.beta), -float("inf"))
