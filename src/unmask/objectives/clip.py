"""CLIP: find the caption of an image among all captions of the batch, and the image of a caption.

The idea in three sentences. An image encoder and a text encoder end in one space, where the cosine says how well an
image and a sentence fit. Each image of a batch has to find its own caption, and each caption its image, among all
others. What comes out names what it has never been labelled for: classes are written as sentences.

Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
With `locked` the image encoder stays as it is: Zhai et al., "LiT", CVPR 2022, arXiv 2111.07991.
"""

from __future__ import annotations

from torch import Tensor

from unmask.base.image_text import ImageText
from unmask.base.objective import Views
from unmask.nn.contrastive import Temperature, paired_nce
from unmask.nn.text import TextSpec

CARD = {
    "title": "CLIP",
    "paper": "Radford et al., ICML 2021, arXiv 2103.00020",
    "task": "images with captions -> an image and a text encoder",
    "licence": "Apache-2.0; OpenAI's weights are MIT",
    "verified": "loss and gradient equal open_clip's and transformers'; no ImageNet number",
    "small": {
        "network": "tiny-resnet", "size": 32, "dim": 16,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40},
    },
}  # fmt: skip


class CLIP(ImageText):
    """Two encoders with linear heads, and a learnt scale of at most 100."""

    def __init__(
        self,
        network: str = "clip-vit-b-16",
        size: int = 224,
        dim: int = 512,
        text: TextSpec = TextSpec(),  # noqa: B008 - it is frozen
        temperature: float = 0.07,
        locked: bool = False,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels.
            dim: width of the joint space.
            text: the text encoder.
            temperature: at the start; it is learnt.
            locked: whether the image encoder stays as it is, which needs a `start`.
        """
        super().__init__(network, size, text, dim, locked)
        self.temperature = Temperature(temperature)

    def loss(self, batch: Views) -> dict[str, Tensor]:
        image, texts = self.first(batch)
        return {"clip": paired_nce(self(image), self(texts), self.temperature.scale)}
