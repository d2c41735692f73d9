"""FSFM fine-tuned: a plain ViT that learnt faces by filling in their hidden regions is trained to tell forged ones.

The idea in three sentences. What makes a face real was learnt without labels (the objective `fsfm`), so that few
labelled forgeries are enough and the answer depends less on which ones. The class token is not used: the mean of all
patches is normed and read by one linear layer that begins near 0. Blocks near the pixels change the least (a learning
rate that falls by 0.65 from block to block), and mixed images with soft labels keep the head from certainty.

Wang et al.: "FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial Representation Learning",
CVPR 2025, arXiv 2412.12032. Mixup: Zhang et al., ICLR 2018. CutMix: Yun et al., ICCV 2019.

In the published checkpoints index 0 is fake (folders in the order of their names); here 1 is, as everywhere, and
`unmask import detector fsfm` turns them round. Its crops are not aligned, 1.3 times the box of dlib's detector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn.backbones import Encoder, load
from unmask.nn.contrastive import soft_cross_entropy

CARD = {
    "title": "FSFM (fine-tuned face security foundation model)",
    "paper": "Wang et al., CVPR 2025, arXiv 2412.12032",
    "task": "one face -> real or fake",
    "evidence": "foundation features",
    "licence": "Apache-2.0; published weights and the authors' code are CC BY-NC 4.0, not used",
    "verified": "soft labels by hand, the published layout on random weights (index 0 turned round); no tables",
    "small": {"backbone": "tiny-fsfm", "mixup": 0.0, "cutmix": 0.0, "drop_path": 0.0},
}


class FSFM(Detector):
    """Plain ViT, normed mean of the patches, linear head; cross-entropy with the soft labels of mixed images."""

    def __init__(
        self,
        backbone: str = "fsfm-vit-b-16",
        drop_path: float = 0.1,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        smoothing: float = 0.1,
    ) -> None:
        """
        Args:
            backbone: a plain ViT of `unmask.nn.backbones`.
            drop_path: how often the last block is left out in training; earlier ones less often, in proportion.
            mixup, cutmix: alpha of the two ways to mix a batch with itself, either in half of the steps; 0 = not.
            smoothing: of labels.
        Raises: UnmaskError for another encoder.
        """
        super().__init__()
        if "fsfm" not in backbone:
            raise RecipeError(
                f"fsfm fine-tunes a plain ViT, and {backbone!r} is none: choose fsfm-vit-s-16, -b-16, -l-16"
            )
        self.encoder = Encoder(backbone)
        self.input = self.encoder.kind.input
        _drop_paths(self.encoder, drop_path)
        self.head = nn.Linear(self.encoder.kind.features, len(self.classes))
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)
        self.mixup, self.cutmix, self.smoothing = mixup, cutmix, smoothing

    def forward(self, image: Tensor) -> Output:
        features = self.encoder(image)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if not self.training or not (self.mixup or self.cutmix or self.smoothing) or batch.weigh is not None:
            return {"cls": cross_entropy(self(batch.image).logits, batch)}
        target = smoothed(batch.label, len(self.classes), self.smoothing)
        image, target = self._mixed(batch.image, target)
        return {"cls": soft_cross_entropy(self(image).logits, target)}

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder alone, from a file that `unmask import encoder` or pre-training wrote."""
        load(self.encoder, weights)

    def _mixed(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The batch mixed with itself in reverse order, by the one way or the other."""
        cut = self.cutmix > 0 and (not self.mixup or bool(torch.rand(()) < 0.5))
        alpha = self.cutmix if cut else self.mixup
        if not alpha:
            return image, target
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        if not cut:
            return mixed(image, share), mixed(target, share)
        return cut_and_mixed(image, target, share, torch.rand(2).tolist())


def smoothed(label: Tensor, classes: int, smoothing: float) -> Tensor:
    """(B,) -> (B, K): 1 - s + s / K for the class, s / K for the others."""
    hard = nn.functional.one_hot(label, classes).float()
    return hard * (1 - smoothing) + smoothing / classes


def mixed(x: Tensor, share: float) -> Tensor:
    """share x + (1 - share) x in reverse order of the batch (mixup)."""
    return share * x + (1 - share) * x.flip(0)


def cut_and_mixed(image: Tensor, target: Tensor, share: float, middle: list[float]) -> tuple[Tensor, Tensor]:
    """A box of about 1 - share of the area comes from the batch in reverse order; labels are mixed by its true area.

    Args:
        image: (B, 3, H, W); target: (B, K).
        middle: of the box, in 0..1 of height and width; what lies outside of the image is cut off.
    """
    height, width = image.shape[-2:]
    ends = []
    for at, side in zip(middle, (height, width), strict=True):
        half = int(side * (1 - share) ** 0.5) // 2
        ends.append((max(int(at * side) - half, 0), min(int(at * side) + half, side)))
    (top, bottom), (left, right) = ends
    patched = image.clone()
    patched[..., top:bottom, left:right] = image.flip(0)[..., top:bottom, left:right]
    return patched, mixed(target, 1 - (bottom - top) * (right - left) / (height * width))


def _drop_paths(encoder: Encoder, rate: float) -> None:
    """Stochastic depth: block n of N is left out with n / (N - 1) times the rate (Huang et al., ECCV 2016)."""
    from timm.layers.drop import DropPath

    blocks: Any = encoder.body.blocks
    for n, block in enumerate(blocks):
        of = rate * n / max(len(blocks) - 1, 1)
        block.drop_path1, block.drop_path2 = (DropPath(of) if of else nn.Identity() for _ in range(2))
