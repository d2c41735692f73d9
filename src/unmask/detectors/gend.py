"""GenD: a frozen foundation model of images, of which only the LayerNorms learn, tells real faces from forged ones.

The idea in three sentences. A vision transformer that has seen hundreds of millions of images already separates what
forgeries change; retraining all of it on one data set destroys that. So only the scale and shift of its LayerNorms and
a linear head are trained, 0.03 % of its weights. The head sees features on the unit sphere, where two losses spread all
features evenly (uniformity) and draw those of one class together (alignment).

Yermakov, Cech, Matas: "Unlocking the Hidden Potential of CLIP in Generalizable Deepfake Detection", arXiv 2503.19683
(paper 1: CLIP, optionally with features mixed along arcs). Yermakov, Cech, Matas, Fritz: "Deepfake Detection that
Generalizes Across Benchmarks", WACV 2026, arXiv 2508.06248 (GenD: three backbones, the losses below, no mixing).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn.adapt import How, adapt, merge
from unmask.nn.backbones import Encoder, load
from unmask.nn.hypersphere import alignment, mixed_by_class, mixed_by_pair, uniformity

CARD = {
    "title": "GenD (LN-tuned CLIP, Perception Encoder or DINOv3)",
    "paper": "Yermakov et al., arXiv 2503.19683 and WACV 2026, arXiv 2508.06248",
    "task": "one aligned face -> real or fake",
    "evidence": "foundation features",
    "licence": "Apache-2.0; the authors' code and weights say MIT, each backbone has terms of its own",
    "verified": "formulas and layouts of the checkpoints on random weights; not the published weights or tables",
    "small": {"backbone": "tiny-dinov2", "head": "linear"},
}


class GenD(Detector):
    """Encoder, unit sphere, linear head. Its encoder is random until `start` loads one, or all weights are loaded."""

    def __init__(
        self,
        backbone: str = "clip-vit-l-14",
        adaptation: How = "ln",
        rank: int = 8,
        last: int = 2,
        head: Literal["norm", "linear"] = "norm",
        uniform: float = 0.5,
        align: float = 0.1,
        mix: Literal["none", "class", "pair"] = "none",
        blocks: int = 0,
        pool: Literal["class", "patches"] = "class",
        share: float = 1.0,
    ) -> None:
        """
        Args:
            backbone: a name in `unmask.nn.backbones`.
            adaptation, rank, last: what of it trains, see `unmask.nn.adapt`.
            head: "norm" looks at unit features, "linear" at features as they are.
            uniform, align: weights of the two losses; 0 leaves one out.
            mix: "class" moves training features to others of their class along an arc (paper 1), "pair" moves a real
                face and its forgeries together to those of another pair (our own variant; for paired batches).
            blocks: the encoder's first so many transformer blocks; 0 = all (our own variant, quicker: traces of
                forgeries are fine detail, which early blocks see).
            pool: the feature is the class token, or the mean of the patch tokens (our own variant, CLIP only).
            share: of the patches that training looks at, drawn anew in each step, with pool "patches" (patch dropout,
                Liu et al., WACV 2023, arXiv 2208.07220).
        Raises: UnmaskError for an encoder that does not have what is asked for, and a share outside of (0, 1].
        """
        super().__init__()
        if not 0 < share <= 1:
            raise RecipeError(f"share is above 0 and at most 1, not {share:g}")
        self.encoder = Encoder(backbone)
        self.blocks, self.pool, self.share = blocks, pool, share
        self._shorten(self.encoder)
        self.input = self.encoder.kind.input
        self.adaptation = adaptation
        self._adapt = partial(adapt, how=adaptation, rank=rank, last=last)
        self._adapt(self.encoder)
        self.head = nn.Linear(self.encoder.kind.features, len(self.classes))
        self.unit, self.uniform, self.align, self.mix = head == "norm", uniform, align, mix

    def forward(self, image: Tensor) -> Output:
        if self.pool == "class":
            features = self.encoder(image)
        else:
            features = self.encoder.patches(image, self.share if self.training else 1.0)
        if self.unit:
            features = F.normalize(features.float(), dim=1)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = CE + 0.5 uniformity + 0.1 alignment (arXiv 2508.06248, "LN + L2 + UnAl"), the last two on the sphere."""
        out = self(batch.image)
        if self.mix != "none" and self.training:
            features = self._mixed(out.features, batch)
            out = Output(self.head(features), features)
        terms = {"cls": cross_entropy(out.logits, batch)}
        z = F.normalize(out.features.float(), dim=1)
        if self.uniform:
            terms["uniform"] = self.uniform * uniformity(z)
        if self.align:
            terms["align"] = self.align * alignment(z, batch.label)
        return terms

    def _mixed(self, features: Tensor, batch: Batch) -> Tensor:
        if self.mix == "class":
            return mixed_by_class(features, batch.label)
        if batch.pair is None:
            raise RecipeError('mix "pair" needs batches that say which rows are pairs: train on a manifest of faces')
        return mixed_by_pair(features, batch.label, batch.pair)

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder alone, from a file that `unmask import encoder` wrote. Raises: UnmaskError for another's."""
        encoder = Encoder(self.encoder.name)  # bare: low-rank updates are laid beside weights that are there
        load(encoder, weights)
        self._shorten(encoder)
        self._adapt(encoder)
        self.encoder = encoder

    def _shorten(self, encoder: Encoder) -> None:
        if self.blocks:
            encoder.shorten(self.blocks)

    def merge(self) -> dict[str, Any]:
        """Fold low-rank updates into the encoder, in place, before an export.

        Returns: options that a detector of these weights is now built with instead.
        """
        merge(self.encoder)
        return {"adaptation": "ln"} if self.adaptation in ("lora", "dora") else {}
