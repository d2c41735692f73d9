"""LOL: contrast with a model tuned to hallucinate, at the last and at a lower layer, and lean towards an instruction.

The idea in three sentences. An amateur, a copy fine-tuned on wrong answers, shows what hallucination looks like, and is
subtracted at the last layer and at a lower one. A pass with an instruction to be factual gives a direction, which is
added. Tokens that the model itself finds implausible are ruled out.

"Lower Layer Matters: Alleviating Hallucination via Multi-Layer Fusion Contrastive Decoding with
Truthfulness Refocused", arXiv 2408.08769. The authors published no code: fusion weight, layer and refocusing weight
are reconstructions, and options.
"""

from __future__ import annotations

from torch import Tensor

from unmask.base.decoder import Decoder, Step, plausible
from unmask.errors import InputError

CARD = {
    "title": "LOL (lower layers matter)",
    "paper": "Lower Layer Matters, arXiv 2408.08769",
    "task": "two models' logits at two layers, and with an instruction -> scores of the next token",
    "licence": "Apache-2.0",
    "verified": "neutral weights are the base decoding; the rest is a reconstruction, since no code was published",
    "small": {"layer": 1},
}


class LOL(Decoder):
    """S = F + omega F' + delta R, where F and F' contrast with the amateur and R is the instruction's direction."""

    branches = ("amateur", "instructed")
    reads_layers = True

    def __init__(
        self,
        *,
        contrast: float = 0.5,
        lower_contrast: float = 0.5,
        omega: float = 0.5,
        delta: float = 0.5,
        layer: int = 16,
        beta: float = 0.1,
    ) -> None:
        """
        Args:
            contrast, lower_contrast: lambda and lambda' of the paper; at 1 an amateur equal to the model leaves
            nothing.
            omega: weight of the lower layer; delta: of the instruction.
            layer: the lower one; 0 = the lowest that is read.
            beta: of `unmask.base.decoder.plausible`.
        """
        self.contrast, self.lower_contrast, self.omega, self.delta = contrast, lower_contrast, omega, delta
        self.layer, self.beta = layer, beta

    def run(self, step: Step) -> Tensor:
        if step.layers is None or "amateur" not in step.branch_layers:
            raise InputError("lol reads hidden layers of the model and of its amateur")
        if self.layer >= len(step.layers):
            raise InputError(f"the model has {len(step.layers)} layers to read, so there is no layer {self.layer}")
        base = step.logits.log_softmax(-1)
        final = base - self.contrast * step.branches["amateur"].log_softmax(-1)
        lower = step.layers[self.layer].log_softmax(-1)
        lower = lower - self.lower_contrast * step.branch_layers["amateur"][self.layer].log_softmax(-1)
        refocused = step.branches["instructed"].log_softmax(-1) - base
        scores = final + self.omega * lower + self.delta * refocused
        return scores.masked_fill(~plausible(step.logits, self.beta), -float("inf"))
