"""Greedy: the likeliest token alone, the control that every other rule is measured against.

The idea in three sentences. Rules that add or subtract passes also sharpen the distribution, and a sharper one makes
fewer mistakes by itself. Greedy decoding is the sharpest there is and costs nothing. A rule that does not beat it has
shown no more than its temperature.

No paper proposes it; it is the usual baseline.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.base.decoder import Decoder, Step

CARD = {
    "title": "Greedy",
    "paper": "none",
    "task": "logits -> the likeliest token",
    "licence": "Apache-2.0",
    "verified": "the argmax of the base decoding",
}


class Greedy(Decoder):
    """Of equal logits the first one counts, as in torch's argmax."""

    def run(self, step: Step) -> Tensor:
        best = step.logits.argmax(-1, keepdim=True)
        kept = torch.full_like(step.logits, -float("inf"))
        return kept.scatter(-1, best, step.logits.gather(-1, best))
