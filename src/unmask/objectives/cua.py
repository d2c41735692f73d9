"""CUA: CLIP's loss with uniformity and alignment, which close the gap between images and captions.

The idea in three sentences. Embeddings of two encoders lie in two clouds apart even where both see the same thing, for
the contrastive loss leaves most of the sphere empty. Spreading each modality over the sphere and drawing partners
together closes the gap. Pushing an image away from all captions but its own (cross-uniformity) is a third term.

Fahim, Murphy and Fyshe: "It's Not a Modality Gap: Characterizing and Addressing the Contrastive Gap", arXiv 2405.18570.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.image_text import ImageText
from unmask.base.objective import Views
from unmask.errors import InputError
from unmask.nn.contrastive import paired_nce
from unmask.nn.gather import gather
from unmask.nn.hypersphere import squared_distances, uniformity
from unmask.nn.precision import full
from unmask.nn.text import TextSpec

CARD = {
    "title": "CUA (contrastive, uniformity, alignment)",
    "paper": "Fahim, Murphy and Fyshe, arXiv 2405.18570",
    "task": "images with captions -> an image and a text encoder without a gap",
    "licence": "Apache-2.0; written from the paper's formulas, the authors' code has no licence and was not used",
    "verified": "terms by hand; that the gap closes, and what it costs, on digits; no number on COCO",
    "small": {
        "network": "tiny-resnet", "size": 32, "dim": 16,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40},
    },
}  # fmt: skip


def pair_alignment(one: Tensor, other: Tensor) -> Tensor:
    """Mean over pairs of ||x_i - y_i||^2, 0..4. Args: unit vectors (N, D) twice."""
    return (full(one) - full(other)).square().sum(1).mean()


def cross_uniformity(one: Tensor, other: Tensor, t: float = 2.0) -> Tensor:
    """log of the mean over i != j of exp(-t ||x_i - y_j||^2), in -4t..0.

    Args:
        one, other: unit vectors (N, D), N >= 2.
    """
    rows = len(one)
    apart = ~torch.eye(rows, dtype=torch.bool, device=one.device)
    kernels: Tensor = (-t * squared_distances(one, other))[apart].logsumexp(0)
    return kernels - torch.tensor(float(rows * (rows - 1)), device=one.device).log()


def cua_terms(
    image: Tensor, text: Tensor, temperature: float = 0.01, *, contrastive: bool = True, cross: bool = False
) -> dict[str, Tensor]:
    """The terms, each with weight 1. Uniformity depends on the batch: compare at one size only.

    Args:
        image, text: (N, D) of any lengths; row i of both belongs together.
    Raises: UnmaskError for fewer than two pairs.
    """
    if len(image) < 2:
        raise InputError("uniformity needs two pairs or more in a batch")
    x, y = (F.normalize(full(z), dim=1) for z in (image, text))
    terms = {"contrastive": paired_nce(x, y, 1 / temperature)} if contrastive else {}
    x, y = gather(x), gather(y)
    terms |= {"alignment": pair_alignment(x, y), "uniformity": (uniformity(x) + uniformity(y)) / 2}
    return terms | ({"cross_uniformity": cross_uniformity(x, y)} if cross else {})


class CUA(ImageText):
    """Two encoders with new heads, at a fixed temperature."""

    def __init__(
        self,
        network: str = "clip-vit-b-16",
        size: int = 224,
        dim: int = 128,
        text: TextSpec = TextSpec(),  # noqa: B008 - it is frozen
        temperature: float = 0.01,
        contrastive: bool = True,
        cross: bool = False,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels.
            dim: width of the joint space; the gap grows with it.
            text: the text encoder.
            temperature: it is not learnt.
            contrastive: whether CLIP's own term is kept.
            cross: whether cross-uniformity is added (CUAXU), which closed the gap less in the paper.
        """
        super().__init__(network, size, text, dim)
        self.temperature, self.contrastive, self.cross = temperature, contrastive, cross

    def loss(self, batch: Views) -> dict[str, Tensor]:
        image, texts = self.first(batch)
        return cua_terms(self(image), self(texts), self.temperature, contrastive=self.contrastive, cross=self.cross)
