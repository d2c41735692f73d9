"""Post-processing: what happens to every image on its way, chosen to hide the forgery.

The idea in three sentences. Saving as JPEG or WebP, resizing, blurring and video coding wipe out the fine traces that
detectors live on, and anyone can do it. Of all of these, alone and in pairs, the one is taken after which the detector
is nearest to an error. Nothing is optimised beyond that choice: it is the weakest adversary, and the commonest.

No single paper: Frank et al., "Leveraging Frequency Analysis for Deep Fake Image Recognition", ICML 2020,
arXiv 2003.08685, section 5.4, and Gandhi and Jain, "Adversarial Perturbations Fool Deepfake Detectors", IJCNN 2020,
arXiv 2003.10596, measure such operations one by one. The scale of strengths is ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from unmask.base.attack import Attack, Logits, margin
from unmask.imageops import degradation as do
from unmask.imageops.reencoding import reencoded
from unmask.types import Pixels

CARD = {
    "title": "Post-processing (JPEG, WebP, resize, blur, H.264)",
    "paper": "none; measured one by one in arXiv 2003.08685 and arXiv 2003.10596",
    "task": "images and scores of a model -> the same images, saved, resized or blurred so that it errs",
    "licence": "Apache-2.0",
    "verified": "strengths by hand; never worse than leaving the image alone",
}
Operation = Literal["jpeg", "webp", "resize", "blur", "h264"]


def quality(strength: float) -> int:
    """Of JPEG and WebP: 95 at strength 0 down to 15 at 1; 75 at 0.25."""
    return round(95 - 80 * strength)


OPERATIONS: dict[str, Callable[[Pixels, float], Pixels]] = {
    "jpeg": lambda image, strength: do.jpeg(image, quality(strength)),
    "webp": lambda image, strength: do.webp(image, quality(strength)),
    "resize": lambda image, strength: do.resized(image, 1 - 0.75 * strength),
    "blur": lambda image, strength: do.blurred(image, max(1e-3, 3 * strength * image.shape[0] / 256)),
    "h264": lambda image, strength: next(reencoded([image], "h264", round(18 + 24 * strength))),
}


class PostProcessing(Attack):
    """The operation, or pair of different ones, of this strength that lowers the true class's margin most."""

    norm = "own"
    unit: ClassVar[str] = "strength 0..1"
    black_box = True

    def __init__(
        self, *, operations: tuple[Operation, ...] = ("jpeg", "webp", "resize", "blur", "h264"), pairs: bool = True
    ) -> None:
        """
        Args:
            operations: to choose from; at strength s JPEG and WebP of quality 95 - 80 s, down to 1 - 0.75 s of the
                side and up again, a blur of 3 s pixels of an image of 256, H.264 of CRF 18 + 24 s.
            pairs: try two different ones after each other too.
        """
        self.chains: list[tuple[Operation, ...]] = [(one,) for one in operations]
        self.chains += list(itertools.permutations(operations, 2)) if pairs else []
        self.chosen: list[str] = []  # of the last budget, for each image: "blur+jpeg", or "" for none

    @torch.no_grad()
    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        best, least = image.clone(), margin(model(image), label)
        self.chosen = [""] * len(image)
        if budget == 0:
            return image
        pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        done: dict[tuple[Operation, ...], list[Pixels]] = {}
        for chain in self.chains:
            before = done.get(chain[:-1], list(pixels))
            done[chain] = [OPERATIONS[chain[-1]](one, min(budget, 1)) for one in before]
            tried = torch.from_numpy(np.stack(done[chain])).to(image.device).permute(0, 3, 1, 2).to(image.dtype) / 255
            found = margin(model(tried), label)
            for n in torch.where(found < least)[0].tolist():
                best[n], least[n], self.chosen[n] = tried[n], found[n], "+".join(chain)
        return best
