"""VIPGuard's user stage: one learned token stands for a protected person, everything else is frozen.

The idea in three sentences. A general encoder has seen many faces and knows nothing of the person to be protected; a
few learned vectors, the person's token, ask its maps by cross-attention what matters for this face. Genuine photos of
the person are one class; photos of others, swaps and syntheses of the person are the other. Only the token is learned
for a new person, so that it can be stored, revoked and deleted like a key.

"Guard Me If You Know Me: Protecting Specific Face-Identity from Deepfakes" (VIPGuard), NeurIPS 2025, arXiv 2505.19582.
Classes: "real" is an authentic image of the person, "fake" anything else (a recipe's `label: person`).

Where it differs from the paper. There the token and its answers enter a vision-language model of 7 billion weights,
which writes its verdict in words; here a linear layer on token and answers says yes or no, and words about face
attributes come from measurements (`unmask.identity.attributes`). The first two stages are the training of encoder and
cross-attention together (`trains: all`, or `checker` above a frozen encoder).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.errors import RecipeError
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "VIPGuard (identity token on a frozen encoder)",
    "paper": "VIPGuard, NeurIPS 2025, arXiv 2505.19582",
    "task": "one aligned face -> an authentic image of one protected person, or not",
    "evidence": "foundation features",
    "licence": "Apache-2.0; written from a description, the authors' code has no licence",
    "verified": "what is frozen stays bitwise; the attention by hand; the paper's language model is not rebuilt",
    "small": {"network": "tiny-resnet", "size": 64, "tokens": 4, "width": 32, "heads": 4, "trains": "all"},
}
Trains = Literal["token", "checker", "all"]


class FaceChecker(nn.Module):
    """Cross-attention without residual and norm, then a feed-forward layer: tokens (T, D) ask an image's (B, N, D)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        if width % heads:
            raise RecipeError(f"width {width} cannot be shared by {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, image: Tensor) -> Tensor:
        """(B, T, D), (B, N, D) -> (B, T, D)"""
        q, k, v = (self._split(f(x)) for f, x in ((self.query, tokens), (self.key, image), (self.value, image)))
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        fed: Tensor = self.feed(self.out(found.transpose(1, 2).flatten(2)))
        return fed

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)"""
        split: Tensor = x.unflatten(2, (self.heads, -1))
        return split.transpose(1, 2)


class VIPGuard(Detector):
    """Maps of a network as tokens, the person's token that asks them, a linear layer on both."""

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "resnet-18", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 224,
        tokens: int = 32,
        width: int = 256,
        heads: int = 8,
        trains: Trains = "token",
    ) -> None:
        """
        Args:
            tokens: vectors of the person's token; the paper has 32. width: of each.
            trains: "token" = the token and nothing else (`start` names the weights of a run that trained the rest),
                "checker" = all but the encoder, "all" = everything.
        Raises: UnmaskError for a width that the heads cannot share.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.project = nn.Linear(self.body.features, width)
        self.token = nn.Parameter(torch.randn(tokens, width))
        self.checker = FaceChecker(width, heads)
        self.head = nn.Linear(2 * width, len(self.classes))
        self.trains = trains
        rest = [self.project, self.checker, self.head]
        frozen: list[nn.Module] = [] if trains == "all" else [self.body, *(rest if trains == "token" else [])]
        for part in frozen:
            part.requires_grad_(False)
        self._still = frozen

    def train(self, mode: bool = True) -> Self:
        """What is frozen stays in evaluation mode: its statistics do not move either."""
        super().train(mode)
        for part in self._still:
            part.eval()
        return self

    def forward(self, image: Tensor) -> Output:
        tokens = self.project(self.body(image).flatten(2).transpose(1, 2))
        own = self.token.expand(image.shape[0], -1, -1)  # len() would fix the batch of an export
        found = self.checker(own, tokens)
        features = torch.cat([found.mean(1), (found * own).mean(1)], 1)
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder, in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)
