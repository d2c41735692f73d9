"""VCD: prefer what the image says over what the language model says of a noisy image.

The idea in three sentences. With a distorted image, a vision-language model falls back on what it knows of language
alone. Subtracting those logits from the ones with the true image leaves what the image contributes. Tokens that are
implausible under the true image are ruled out, or the difference would reward them.

Leng et al., "Mitigating Object Hallucinations in Large Vision-Language Models through Visual Contrastive Decoding",
CVPR 2024, arXiv 2311.16922.
"""

from __future__ import annotations

from torch import Tensor

from unmask.base.decoder import Decoder, Step, plausible

CARD = {
    "title": "VCD (visual contrastive decoding)",
    "paper": "Leng et al., CVPR 2024, arXiv 2311.16922",
    "task": "logits with the image and with a noisy image -> scores of the next token",
    "licence": "Apache-2.0",
    "verified": "formula by hand; alpha = 0 is the base decoding; no published benchmark was run",
}


def contrast(logits: Tensor, other: Tensor, alpha: float) -> Tensor:
    """(1 + alpha) logits - alpha other, (B, V)."""
    return (1 + alpha) * logits - alpha * other


class VCD(Decoder):
    """`noised`: the image after the forward process of a diffusion model (step 500 of 1,000 in the paper)."""

    branches = ("noised",)

    def __init__(self, *, alpha: float = 1.0, beta: float = 0.1) -> None:
        """
        Args:
            alpha: weight of the contrast; 0 = the base decoding.
            beta: of `unmask.base.decoder.plausible`.
        """
        self.alpha, self.beta = alpha, beta

    def run(self, step: Step) -> Tensor:
        scores = contrast(step.logits, step.branches["noised"], self.alpha)
        return scores.masked_fill(~plausible(step.logits, self.beta), -float("inf"))
