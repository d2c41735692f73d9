"""SelfCon on ImagiNet: an encoder learns by contrast which images are synthetic, and what made them.

The idea in three sentences. Labels group images twice: real against synthetic over all of them, and by the generator's
family over the synthetic ones. Both groupings are contrasted between an early exit of the network and its last one, so
that one view of an image is enough and no augmentation has to wipe out the traces. A small classifier is trained on the
features beside that, and its gradient stops there.

Boychev and Cholakov: "ImagiNet: A Multi-Content Benchmark for Synthetic Image Detection", arXiv 2407.20020. Loss:
Bae et al., "Self-Contrastive Learning", AAAI 2023, arXiv 2106.15499.

Its two tracks are two tasks of a recipe: real or synthetic (`detection`), and which generator (`classification` by
method). The authors train the classifier afterwards, for five epochs on frozen features: start from a file of the
objective `selfcon` with `contrast: 0`. With `contrast: 1` one run does both. ImagiNet's network keeps its resolution
for two steps longer ("resnet-50-full", sixteen times the operations).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn.contrastive import selfcon_loss
from unmask.nn.convnets import ConvNet
from unmask.nn.exits import Exits

CARD = {
    "title": "SelfCon detector (ImagiNet)",
    "paper": "Boychev and Cholakov, arXiv 2407.20020; Bae et al., AAAI 2023, arXiv 2106.15499",
    "task": "an image, or one face -> real or synthetic, or which generator",
    "evidence": "foundation features",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; the authors' code names no licence",
    "verified": "both contrasts by hand and that the classifier's gradient stops; no published weights or tables",
    "small": {"network": "tiny-resnet-full", "size": 32, "hidden": 32, "dim": 16, "dropout": 0.0},
}


class SelfCon(Detector):
    """L = CE of the classifier + `contrast` (SelfCon by origin + `family` SelfCon of synthetic images by method)."""

    def __init__(
        self,
        network: str = "resnet-50-full",
        size: int = 256,
        exit_after: str = "layer2",
        hidden: int = 2048,
        dim: int = 128,
        temperature: float = 0.07,
        contrast: float = 1.0,
        family: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            exit_after: the step of the network that the early exit follows.
            hidden, dim: widths of the contrast's heads.
            contrast: weight of the two contrasts; 0 = the encoder is frozen and the classifier alone learns.
            family: weight of the second one within them.
            dropout: in the classifier.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        wide = self.body.features
        layers = (nn.BatchNorm1d(wide), nn.Linear(wide, wide // 2), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Sequential(*layers, nn.Linear(wide // 2, len(self.classes)))
        self.exits = Exits(self.body, exit_after, hidden, dim) if contrast else None
        self.body.requires_grad_(self.exits is not None)
        self.temperature, self.contrast, self.family = temperature, contrast, family

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.classifier(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if self.exits is None:
            return {"cls": cross_entropy(self(batch.image).logits, batch)}
        early, late = self.exits.features(self.body, batch.image)
        terms = {"cls": cross_entropy(self.classifier(late.detach()), batch)}
        origin, family = tracks(batch, self.classes)
        exits = self.exits(early, late)
        terms["origin"] = self.contrast * selfcon_loss(exits, origin, self.temperature)
        if self.family:
            terms["family"] = self.contrast * self.family * selfcon_loss(exits, family, self.temperature)
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, or the encoder that the objective `selfcon` pre-trained."""
        self.body.load_pretrained(weights)


def tracks(batch: Batch, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Origin (B,), 0 = real and 1 = synthetic, and family (B,), what made it or -1 for real.

    Of a binary detector the family is `Batch.method`, of one with a class for each generator the label itself.

    Raises: UnmaskError where neither says what made an image.
    """
    if len(classes) > 2:
        if "real" not in classes:
            raise RecipeError("selfcon contrasts real with synthetic images: have a class named 'real'")
        origin = (batch.label != classes.index("real")).long()
        return origin, torch.where(origin > 0, batch.label, -1)
    if batch.method is None:
        raise RecipeError("selfcon contrasts what made an image, and the batch does not say: set options.family=0")
    return batch.label, torch.where(batch.label > 0, batch.method, -1)
