"""TSOM++: TSOM, and what the decoder says of equal edits is drawn together over all images of a batch.

The idea in three sentences. TSOM learns each token by itself, and two images whose third edit is the same teach nothing
about each other. So the decoder's answers at all places of all sentences are compared, and those whose true token is
equal are positives (sequential multi-label contrast). Nothing else changes.

Ni et al.: "Texture, Shape, Order and Relation Matter", arXiv 2404.13873v5, the longer version of TSOM (WACV 2025), with
the authors' code read at commit b5e0273.

Where it differs from the authors' code. Answers and targets are laid in one order; there they are not, so that
positives are wrong whenever a batch has more than one image. Padding and an answer itself take no part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.nn.contrastive import cosines, info_nce
from unmask.nn.edit_order import Encoded
from unmask.nn.texture_shape import Faithful, TextureShapeDetector

CARD = {
    "title": "TSOM++ (texture, shape, order and relation)",
    "paper": "Ni et al., arXiv 2404.13873v5",
    "task": "one face -> the order of the edits that made it",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the authors' code names no licence, not used; the network is timm's, Apache-2.0",
    "verified": "the contrast by hand; the rest as tsom; no published weights or tables",
    "small": {
        "network": "tiny-resnet",
        "size": 64,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "dropout": (0.0, 0.0),
        "shape_widths": (8, 16, 16),
    },
}


class TSOMPlusPlus(TextureShapeDetector):
    """TSOM; L = CE of the next token + L_vae + `relation` L_smcl."""

    def __init__(
        self,
        network: str = "resnet-34",
        size: int = 256,
        width: int = 256,
        heads: int = 4,
        layers: int = 2,
        dropout: tuple[float, float] = (0.2, 0.4),
        alpha: float = 0.005,
        texture: bool = True,
        backward: bool = True,
        shape_widths: tuple[int, ...] = (32, 64, 128, 256, 256),
        faithful: Faithful = "paper",
        relation: float = 0.01,
        temperature: float = 0.07,
    ) -> None:
        """
        Args:
            network: to `faithful`: as of `tsom`.
            relation, temperature: of the contrast.
        """
        super().__init__(network, size, width, heads, layers, dropout, alpha, texture, backward, shape_widths, faithful)
        self.relation, self.temperature = relation, temperature

    def terms(self, image: Tensor, found: Encoded, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        related = sequential_contrast(logits, target, self.words.pad, self.temperature)
        return super().terms(image, found, logits, target) | {"relation": self.relation * related}


def sequential_contrast(logits: Tensor, target: Tensor, pad: int, temperature: float) -> Tensor:
    """Mean over answers of -log (sum over those of the same token of e^s / sum over all others of e^s).

    s is the cosine of two answers over the temperature; an answer alone with its token counts for nothing.

    Args:
        logits: (B, T, V), what the decoder says at each place.
        target: (B, T), the true tokens; those that are `pad` take no part.
    """
    answers, tokens = logits.flatten(0, 1), target.flatten()
    itself = torch.eye(len(tokens), dtype=torch.bool, device=tokens.device)
    said = tokens != pad
    alike = (tokens[:, None] == tokens) & said & ~itself
    valid = said & said[:, None] & ~itself
    return info_nce(cosines(answers, answers) / temperature, alike, valid, positives="set")
