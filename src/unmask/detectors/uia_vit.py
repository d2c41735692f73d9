"""UIA-ViT: patches of one face that disagree betray a forgery, and a vision transformer learns where without any mask.

The idea in three sentences. Patches of real faces, and those at the centre of forged ones, are two clouds of features,
a Gaussian each; a patch of a forged face belongs to the nearer one by Mahalanobis distance, which gives masks that
nobody drew. Between patches a consistency is learnt: high where both are of one kind, low where not. The class token is
read together with the patches, each weighed by how much it disagrees with the rest.

Zhuang et al.: "UIA-ViT: Unsupervised Inconsistency-Aware Method Based on Vision Transformer for Face Forgery
Detection", ECCV 2022, arXiv 2210.12752. Weights as DeepfakeBench notes them: 0.06 of the consistency, and
0.05 (1 / |c1| + 1 / |c2|) + 0.5 |c3| of its means, from the second epoch on. Formulas from memory; both clouds share
one covariance here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.base.method import Engine
from unmask.errors import RecipeError
from unmask.nn.backbones import Encoder, load
from unmask.nn.fixed import exactly

CARD = {
    "title": "UIA-ViT (unsupervised inconsistency)",
    "paper": "Zhuang et al., ECCV 2022, arXiv 2210.12752",
    "task": "one aligned face -> real or fake, and which patches disagree",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "distances, kinds of patches and the means' term by hand; formulas from memory, no weights or tables",
    "small": {"backbone": "tiny-fsfm", "middle": 2, "centre": 0.5},
}


class UIAViT(Detector):
    """Plain ViT; L = CE + `consistency` L_upcl + L_means; the clouds follow the batches."""

    real: Tensor
    fake: Tensor
    spread: Tensor

    def __init__(
        self,
        backbone: str = "fsfm-vit-b-16",
        middle: int = 6,
        consistency: float = 0.06,
        means: tuple[float, float] = (0.05, 0.5),
        centre: float = 0.5,
        momentum: float = 0.9,
        warmup: float = 0.1,
    ) -> None:
        """
        Args:
            backbone: a plain ViT of `unmask.nn.backbones`.
            middle: blocks before the features of the clouds.
            consistency, means: weights of the losses.
            centre: share of the side in which a forged face's patches are taken for forged, for the second cloud.
            momentum: of the clouds from batch to batch.
            warmup: share of the run in which the clouds follow and nothing is learnt from them (there an epoch of ten).
        Raises: UnmaskError for another encoder.
        """
        super().__init__()
        if "fsfm" not in backbone:
            raise RecipeError(f"uia_vit looks into a plain ViT, and {backbone!r} is none: choose fsfm-vit-b-16")
        self.encoder = Encoder(backbone)
        self.input = self.encoder.kind.input
        wide = self.encoder.kind.features
        self.query, self.key = nn.Linear(wide, wide), nn.Linear(wide, wide)
        self.head = nn.Linear(2 * wide, len(self.classes))
        self.middle, self.consistency, self.means = middle, consistency, means
        self.centre, self.momentum, self.warmup, self.done = centre, momentum, warmup, 1.0
        self.register_buffer("real", torch.zeros(wide))
        self.register_buffer("fake", torch.zeros(wide))
        self.register_buffer("spread", torch.eye(wide))

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        self.done = engine.done
        return super().step(batch, engine)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out, tokens, agree = self._seen(batch.image)
        kinds = patch_kinds(tokens.detach(), batch.label, self.real, self.fake, self.spread)
        if self.training:
            self._follow(tokens.detach(), batch.label)
        terms = {"cls": cross_entropy(out.logits, batch)}
        on = 1.0 if self.done >= self.warmup else 0.0
        terms["consistency"] = on * self.consistency * consistency_loss(agree, kinds)
        terms["means"] = on * means_loss(agree, kinds, *self.means)
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder alone, from a file that `unmask import encoder` or pre-training wrote."""
        load(self.encoder, weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor, Tensor]:
        """The answer; the middle's patches (B, N, D); the consistency of each two of them in 0..1 (B, N, N)."""
        body: Any = self.encoder.body
        x = body.norm_pre(body._pos_embed(body.patch_embed(self.encoder.normalised(exactly(image, self.input.size)))))
        middle = x
        for n, block in enumerate(body.blocks, 1):
            x = block(x)
            middle = x if n == self.middle else middle
        tokens = middle[:, 1:]
        agree = (self.query(tokens) @ self.key(tokens).transpose(1, 2) / tokens.shape[2] ** 0.5).sigmoid()
        share = (1 - agree).mean(2)
        share = share / share.sum(1, keepdim=True).clamp_min(1e-6)
        read = body.fc_norm(torch.stack([x[:, 0], (share[..., None] * x[:, 1:]).sum(1)], 1)).flatten(1)
        return Output(self.head(read), read), tokens, agree

    @torch.no_grad()
    def _follow(self, tokens: Tensor, label: Tensor) -> None:
        """The clouds: all patches of real faces, and the middle ones of forged faces."""
        side = round(tokens.shape[1] ** 0.5)
        line = (torch.arange(side, device=tokens.device) + 0.5) / side - 0.5
        inside = (line.abs() < self.centre / 2).outer(line.abs() < self.centre / 2).flatten()
        real, fake = tokens[label == 0].flatten(0, 1), tokens[label > 0][:, inside].flatten(0, 1)
        for mean, cloud in ((self.real, real), (self.fake, fake)):
            if len(cloud):
                mean.lerp_(cloud.float().mean(0), 1 - self.momentum)
        both = torch.cat([c.float() - c.float().mean(0) for c in (real, fake) if len(c)])
        self.spread.lerp_(both.T @ both / len(both), 1 - self.momentum)


def mahalanobis(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """(x - mean)' (spread + 1e-3 tr(spread) / D)^-1 (x - mean): (..., D), (D,), (D, D) -> (...)."""
    width = len(mean)
    ridge = spread + 1e-3 * spread.trace() / width * torch.eye(width, device=spread.device)
    apart = (x.float() - mean).flatten(0, -2)
    solved: Tensor = torch.linalg.solve(ridge, apart.T).T
    return (apart * solved).sum(1).view(x.shape[:-1])


def patch_kinds(tokens: Tensor, label: Tensor, real: Tensor, fake: Tensor, spread: Tensor) -> Tensor:
    """(B, N) bool, True = forged: patches of forged faces that lie nearer to the forged cloud; none of a real face."""
    nearer = mahalanobis(tokens, fake, spread) < mahalanobis(tokens, real, spread)
    return nearer & (label > 0)[:, None]


def consistency_loss(agree: Tensor, kinds: Tensor) -> Tensor:
    """Mean squared difference of the consistency from 1 where two patches are of one kind, and 0 where not."""
    same = kinds[:, :, None] == kinds[:, None]
    return (agree - same.to(agree.dtype)).square().mean()


def means_loss(agree: Tensor, kinds: Tensor, within: float, between: float) -> Tensor:
    """within (1 / c1 + 1 / c2) + between c3, over images with both kinds of patches; 0 without any.

    c1, c2, c3: mean consistency between two real patches, between two forged ones, and between one of each.
    """
    mixed = kinds.any(1) & ~kinds.all(1)
    if not mixed.any():
        return agree.sum() * 0
    agree, kinds = agree[mixed], kinds[mixed]
    forged, real = (k[:, :, None] & k[:, None] for k in (kinds, ~kinds))
    c1, c2, c3 = ((agree * pairs).sum() / pairs.sum() for pairs in (real, forged, ~(real | forged)))
    return within * (1 / c1 + 1 / c2) + between * c3
