"""Selfie: which of the hidden patches belongs into this gap?

The idea in three sentences. An image is cut into patches, some are hidden, and one network encodes each patch by
itself. Attention pools the shown ones into one vector, to which the position of a gap is added. That query must point
to the right patch among the hidden ones of the same image: masked prediction as in BERT, without painting pixels.

Trinh, Luong and Le: "Selfie: Self-supervised Pretraining for Image Embedding", arXiv 1906.02940.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import info_nce
from unmask.nn.convnets import ConvNet
from unmask.nn.patches import patches, split, take
from unmask.nn.token_pool import TokenPool

CARD = {
    "title": "Selfie (pointing to hidden patches)",
    "paper": "Trinh, Luong and Le, arXiv 1906.02940",
    "task": "one image as patches -> which hidden patch fills which gap",
    "licence": "Apache-2.0",
    "verified": "loss by hand and against cross-entropy; permutation of candidates and of context; no official code",
    "small": {"network": "tiny-resnet", "size": 64, "patch": 16, "layers": 1, "heads": 2, "feed_forward": 32},
}
LAST = "layer3"  # of the network's stages, whose mean over places is the feature of a patch


def pointing_logits(query: Tensor, candidate: Tensor) -> Tensor:
    """Plain dot products, (B, T, T): gap by candidate.

    Args:
        query, candidate: (B, T, D), of the hidden places and of the hidden patches, in one order.
    """
    return query @ candidate.transpose(1, 2)


def selfie_loss(query: Tensor, candidate: Tensor) -> Tensor:
    """Mean over gaps t of -log exp(v_t h_t) / sum over the image's hidden t' of exp(v_t h_t'); no temperature.

    Args:
        query: v, (B, T, D).
        candidate: h, (B, T, D); other images' patches never enter.
    """
    logits = pointing_logits(query, candidate).flatten(0, 1)
    right = torch.eye(query.shape[1], dtype=torch.bool, device=query.device).repeat(len(query), 1)
    return info_nce(logits, right)


class Selfie(Objective):
    """Three stages of a residual network look at each patch by itself; the last stage stays as it began.

    Context and candidates pass the network apart, so that its batch statistics do not carry one to the other.
    """

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 224,
        patch: int = 32,
        hidden: float = 0.25,
        jitter: int = 0,
        layers: int = 3,
        heads: int = 32,
        feed_forward: int = 640,
        dropout: float = 0.1,
        context: Literal["own", "other", "none"] = "own",
    ) -> None:
        """
        Args:
            size, patch: sides of the image and of its patches, pixels.
            hidden: share of the patches that are hidden.
            jitter: each patch is cut so many pixels smaller, at a random place: edges no longer continue, and the grid
                is not that of JPEG blocks.
            layers, heads, feed_forward, dropout: of the attention pooling.
            context: "other" pools another image's patches and "none" a constant: the controls.
        """
        super().__init__()
        self.network = ConvNet(network)
        steps = list(self.network.steps)
        for unused in steps[steps.index(LAST) + 1 :]:
            self.network.body.get_submodule(unused).requires_grad_(False)
        self.side, self.patch, self.jitter, self.context = size // patch, patch, jitter, context
        self.count = self.side**2
        self.hide = round(hidden * self.count)
        width = self.network.width(LAST)
        self.pool = TokenPool(width, layers, heads, feed_forward, dropout)
        self.rows, self.columns = (nn.Parameter(torch.randn(self.side, width) * 0.02) for _ in range(2))
        self.constant = nn.Parameter(torch.zeros(width)) if context == "none" else None
        self.input = self.network.input(size)

    @property
    def encoder(self) -> ConvNet:
        """The whole network; its last stage is untrained."""
        return self.network

    def forward(self, image: Tensor) -> Tensor:
        """The mean over patches of what is trained."""
        return self.each(patches(self.network.normalised(image), self.patch)).mean(1)

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of the first view."""
        return {"pointing": selfie_loss(*self.pointed(batch.images[0]))}

    def load_pretrained(self, weights: Path) -> None:
        """ImageNet weights in timm's layout."""
        self.network.load_pretrained(weights)

    def pointed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and candidates, (B, T, D) both, of a random T hidden patches."""
        cut = smaller(patches(self.network.normalised(image), self.patch), self.jitter)
        shown, hidden = (index.to(image.device) for index in split(len(image), self.count, self.hide))
        place = (self.rows[:, None] + self.columns[None]).flatten(0, 1)
        context, candidate = self.each(take(cut, shown)) + place[shown], self.each(take(cut, hidden))
        if self.constant is not None:
            pooled = self.constant.expand(len(image), -1)
        else:
            pooled = self.pool(context.roll(1, 0) if self.context == "other" else context)
        return pooled[:, None] + place[hidden], candidate

    def each(self, patch: Tensor) -> Tensor:
        """(B, N, 3, p, p), normalised -> (B, N, D): every patch by itself."""
        maps = self.network.run(patch.flatten(0, 1), until=LAST)
        features: Tensor = maps.mean((2, 3)).unflatten(0, patch.shape[:2])
        return features


def smaller(patch: Tensor, jitter: int) -> Tensor:
    """(B, N, C, p, p) -> (B, N, C, p - jitter, p - jitter), cut at a random place of each patch."""
    if not jitter:
        return patch
    side = patch.shape[-1] - jitter
    windows = patch.flatten(0, 1).unfold(2, side, 1).unfold(3, side, 1)  # (B N, C, jitter + 1, jitter + 1, side, side)
    x, y = torch.randint(jitter + 1, (2, len(windows)))
    cut: Tensor = windows[torch.arange(len(windows)), :, y, x].unflatten(0, patch.shape[:2])
    return cut
