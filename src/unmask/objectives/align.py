"""ALIGN: the same as CLIP on pairs that nobody cleaned, where scale stands in for curation.

The idea in three sentences. Alt texts of the web are noisy, but there are billions of them. An image and a text encoder
learn to find each other's partner in a large batch, with a learnt temperature. Smoothed labels allow that some partners
are wrong and some others right.

Jia et al.: "Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision", ICML 2021,
arXiv 2102.05918. Otherwise than there: the temperature is exp of a parameter and cannot reach 0; both directions are
averaged, as in transformers, where the authors of COYO-ALIGN add them (half the learning rate there).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from unmask.base.image_text import ImageText
from unmask.base.method import Engine
from unmask.base.objective import Views
from unmask.nn.cached import cached_backward_of
from unmask.nn.contrastive import Temperature, paired_nce
from unmask.nn.text import TextSpec

CARD = {
    "title": "ALIGN",
    "paper": "Jia et al., ICML 2021, arXiv 2102.05918",
    "task": "images with captions -> an image and a text encoder",
    "licence": "Apache-2.0; COYO-ALIGN's weights are Apache-2.0 and not loaded here",
    "verified": "loss by hand and against transformers'; the noise curve on drawn scenes; no number of the paper",
    "small": {
        "network": "tiny-efficientnet", "size": 32, "dim": 16,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40, "causal": False, "pool": "first"},
    },
}  # fmt: skip


class ALIGN(ImageText):
    """Two encoders with linear heads; cross-entropy with smoothed labels in both directions."""

    def __init__(
        self,
        network: str = "efficientnet-b4",
        size: int = 289,
        dim: int = 640,
        text: TextSpec = TextSpec(width=768, depth=12, heads=12, causal=False, pool="first"),  # noqa: B008 - frozen
        temperature: float = 1.0,
        label_smoothing: float = 0.1,
        chunk: int = 0,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels.
            dim: width of the joint space.
            text: the text encoder.
            temperature: at the start; it is learnt.
            label_smoothing: share of a target that goes to all candidates evenly. The least possible loss grows with it
                and with the batch: never compare it with CLIP's.
            chunk: embed so many pairs at a time, so that memory does not grow with the batch; 0 = all. Batch
                normalisation does not allow it: choose a transformer.
        """
        super().__init__(network, size, text, dim)
        self.temperature = Temperature(temperature)
        self.label_smoothing, self.chunk = label_smoothing, chunk

    def loss(self, batch: Views) -> dict[str, Tensor]:
        image, texts = self.first(batch)
        return {"align": self.paired(self(image), self(texts))}

    def paired(self, image: Tensor, text: Tensor) -> Tensor:
        """(B, dim) twice -> the loss."""
        return paired_nce(image, text, self.temperature.scale, label_smoothing=self.label_smoothing)

    def step(self, batch: Views, engine: Engine) -> dict[str, Tensor]:
        if not self.chunk:
            return super().step(batch, engine)
        image, texts = self.first(batch)
        parts = [texts[i : i + self.chunk] for i in range(0, len(texts), self.chunk)]
        sides: list[tuple[Callable[[Any], Tensor], Sequence[Any]]] = [
            (self.towers.images, image.split(self.chunk)),
            (self.towers.texts, parts),
        ]
        with engine.autocast():
            value = cached_backward_of(sides, self.paired, image.device.type, engine.backward)
        if engine.update():
            self.updated(engine)
        return {"align": value}
