"""FFD: the classifier is made to look where the face was changed.

The idea in three sentences. A map of attention over the high-level maps of the network, each value between 0 and 1,
weighs them place by place, and so it shows what the answer rests on. It can learn from masks of the changed pixels,
from the label alone, which says that a real face has none and a forged one some, or from nothing but the cross-entropy
behind it. Attention costs next to nothing, and makes the answer one that can be looked at.

Dang et al.: "On the Detection of Digital Face Manipulation", CVPR 2020, arXiv 1910.01717. The weakly supervised loss is
from memory. Batches here hold no masks, so that the supervised variant, which is the paper's best, cannot be trained.

Where it differs from the paper or from DeepfakeBench. Batches hold no masks. The map learns from labels (the paper's
weakly supervised variant, `supervise: labels`) or from nothing but what follows (`supervise: nothing`, all that
DeepfakeBench's copy does without masks). The template and PCA maps are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "FFD (attention on manipulated regions)",
    "paper": "Dang et al., CVPR 2020, arXiv 1910.01717",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the map's loss by hand, from memory; training on masks is left out; no published weights or tables",
    "small": {"network": "tiny-xception", "size": 32},
}

CUTS = {"xception": "block7", "small-resnet": "layer3", "tiny-xception": "blocks.0"}  # the step that attention weighs


class FFD(Detector):
    """A network with an attention map in it, regressed from its maps; linear head; L = CE + `map_weight` L_map."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        supervise: Literal["labels", "nothing"] = "labels",
        map_weight: float = 1.0,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            supervise: what the map learns from besides the cross-entropy behind it.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.cut = self.body.input(size), CUTS[network]
        width = self.body.width(self.cut)
        across = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.attend = nn.Sequential(across, nn.Conv2d(width, 1, 1, bias=False), nn.Sigmoid())
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.map_weight = map_weight if supervise == "labels" else 0.0

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out, attention = self._seen(batch.image)
        terms = {"cls": cross_entropy(out.logits, batch)}
        if self.map_weight:
            terms["map"] = self.map_weight * weak(attention, batch.label)
        return terms

    def attention(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1, h, w) in 0..1: where it looks."""
        return self._seen(image)[1]

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor]:
        maps = self.body.run(self.body.normalised(image), until=self.cut)
        attention: Tensor = self.attend(maps)
        features = self.body.run(maps * attention, self.cut).mean((2, 3))
        return Output(self.head(features), features), attention


def weak(attention: Tensor, label: Tensor) -> Tensor:
    """Mean of |max over places of A - t| with t = 0 for a real face and 0.75 for a forged one.

    Args:
        attention: (N, 1, h, w) in 0..1; label: (N,), 0 = real.
    """
    return (attention.amax((1, 2, 3)) - 0.75 * (label > 0)).abs().mean()
