"""Effort: what a foundation model knows is kept in its leading singular directions; forgery is learnt in the last ones.

The idea in three sentences. Fine-tuning all of a model bends its rich features to the few that one data set needs. So
each map of self-attention is decomposed into singular directions: the leading ones are frozen, and only the last, which
carry almost nothing, are trained. Two losses keep the new directions at right angles to the frozen ones, and the size
of the whole map as it was.

Yan et al.: "Orthogonal Subspace Decomposition for Generalizable AI-Generated Image Detection", ICML 2025,
arXiv 2411.15633 (formulas from memory). DeepfakeBench's copy trains by cross-entropy alone: set both weights to 0.

Where it differs from the paper or from DeepfakeBench. The two losses are as remembered from the paper; their weights
(1 and 1) are ours. DeepfakeBench's copy has neither. The frozen directions are kept beside each map, so that its
weights take about three times their package.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import InputError
from unmask.nn.backbones import Encoder, load

CARD = {
    "title": "Effort (orthogonal subspace decomposition)",
    "paper": "Yan et al., ICML 2025, arXiv 2411.15633",
    "task": "one aligned face, or an image -> real or fake",
    "evidence": "foundation features",
    "licence": "Apache-2.0; the encoder has terms of its own",
    "verified": "the split and both terms by hand; formulas from memory, no published weights or tables",
    "small": {"backbone": "tiny-dinov2", "rank": 4},
}


class Effort(Detector):
    """Encoder with split attention maps, linear head. It is random until `start` loads an encoder, or all weights."""

    def __init__(
        self, backbone: str = "clip-vit-l-14", rank: int = 1, orthogonal: float = 1.0, size: float = 1.0
    ) -> None:
        """
        Args:
            backbone: a name in `unmask.nn.backbones`.
            rank: singular directions of each map that train; the authors' code has 1 of 1024.
            orthogonal, size: weights of the two losses; 0 leaves one out. Ours, the paper's were not at hand.
        """
        super().__init__()
        self.encoder, self.rank = Encoder(backbone), rank
        self.input = self.encoder.kind.input
        self.head = nn.Linear(self.encoder.kind.features, len(self.classes))
        self.orthogonal, self.size = orthogonal, size
        _split(self.encoder, rank)

    def forward(self, image: Tensor) -> Output:
        features = self.encoder(image)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = CE + `orthogonal` mean over maps of its `skew` + `size` mean over maps of its `growth`."""
        terms = {"cls": cross_entropy(self(batch.image).logits, batch)}
        maps = [m for m in self.encoder.modules() if isinstance(m, _Split)]
        if self.orthogonal:
            terms["orthogonal"] = self.orthogonal * torch.stack([m.skew() for m in maps]).mean()
        if self.size:
            terms["size"] = self.size * torch.stack([m.growth() for m in maps]).mean()
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder, from a file that `unmask import encoder` wrote. Raises: UnmaskError for another's."""
        encoder = Encoder(self.encoder.name)  # bare: only then are its weights those of the file
        load(encoder, weights)
        _split(encoder, self.rank)
        self.encoder = encoder


class _Split(nn.Module):
    """A linear map W = U S V + u s v: the leading part as buffers, the last `rank` directions as parameters."""

    main: Tensor
    left: Tensor
    right: Tensor
    whole: Tensor

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        weight = linear.weight.detach()
        if not 0 < rank < min(weight.shape):
            raise InputError(f"rank {rank} does not split a map of {min(weight.shape)} directions: give 1 or more")
        u, s, v = torch.linalg.svd(weight.float(), full_matrices=False)
        self.register_buffer("main", (u[:, :-rank] * s[:-rank]) @ v[:-rank])
        self.register_buffer("left", u[:, :-rank].contiguous())
        self.register_buffer("right", v[:-rank].contiguous())
        self.register_buffer("whole", s.square().sum())
        self.u, self.s, self.v = (nn.Parameter(p.clone()) for p in (u[:, -rank:], s[-rank:], v[-rank:]))
        self.register_buffer("bias", linear.state_dict().get("bias"))  # some maps have none

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.main + self.rest(), self.bias)  # type: ignore[arg-type]

    def rest(self) -> Tensor:
        return (self.u * self.s) @ self.v

    def skew(self) -> Tensor:
        """||[U u]'[U u] - 1||^2 + ||[V v][V v]' - 1||^2; U and V are orthonormal and frozen, so only blocks of u, v."""
        one = torch.eye(len(self.s), device=self.s.device)
        cross = (self.left.T @ self.u).square().sum() + (self.right @ self.v.T).square().sum()
        own = (self.u.T @ self.u - one).square().sum() + (self.v @ self.v.T - one).square().sum()
        return 2 * cross + own

    def growth(self) -> Tensor:
        """| ||U S V + u s v||^2 - ||W||^2 | with Frobenius norms."""
        return ((self.main + self.rest()).square().sum() - self.whole).abs()


def _split(encoder: Encoder, rank: int) -> None:
    """Freeze the encoder and split its attention maps, in place."""
    encoder.requires_grad_(False)
    for name, module in list(encoder.body.named_modules()):
        if isinstance(module, nn.Linear) and encoder.kind.blocks in name and ("attn" in name or "attention" in name):
            parent, _, leaf = name.rpartition(".")
            setattr(encoder.body.get_submodule(parent), leaf, _Split(module, rank))
