"""RITUAL: add what a model says of a transformed copy of the image.

The idea in three sentences. Two views of one scene agree on what is there and disagree on what is imagined. So the
logits with a randomly transformed image are added, with weight alpha, to those with the original. With an identical
view the rule is sampling at temperature 1 / (1 + alpha): compare it with that, not with temperature 1.

Woo et al., "RITUAL: Random Image Transformations as a Universal Anti-hallucination Lever in Large Vision Language
Models", arXiv 2405.17821. The sum is not divided by 1 + alpha, as in the authors' code.
"""

from __future__ import annotations

from torch import Tensor

from unmask.base.decoder import Decoder, Step, plausible

CARD = {
    "title": "RITUAL (random image transformations)",
    "paper": "Woo et al., arXiv 2405.17821",
    "task": "logits with the image and with a transformed copy -> scores of the next token",
    "licence": "Apache-2.0; written from the paper",
    "verified": "alpha = 0 is the base decoding; equal views are temperature 1 / (1 + alpha); no benchmark was run",
}


class Ritual(Decoder):
    """`transformed`: one copy of the image for each request. Flips and blurs can destroy the evidence of a forgery."""

    branches = ("transformed",)

    def __init__(self, *, alpha: float = 3.0, beta: float = 0.1) -> None:
        """
        Args:
            alpha: weight of the transformed view; 0 = the base decoding.
            beta: of `unmask.base.decoder.plausible`, on the original alone.
        """
        self.alpha, self.beta = alpha, beta

    def run(self, step: Step) -> Tensor:
        scores = step.logits + self.alpha * step.branches["transformed"]
        return scores.masked_fill(~plausible(step.logits, self.beta), -float("inf"))
