"""An objective of images and their captions: two encoders, and whatever brings their embeddings together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from unmask.base.objective import Modality, Objective, Views
from unmask.errors import InputError
from unmask.nn.text import TextSpec
from unmask.nn.two_towers import TwoTowers, load_image


class ImageText(Objective):
    """A method writes `loss`; embeddings of images and of sentences are those of `towers`."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "text")

    def __init__(self, network: str, size: int, text: TextSpec, dim: int, locked: bool = False) -> None:
        super().__init__()
        self.towers = TwoTowers(network, size, text, dim, locked)
        self.input = self.towers.input

    @property
    def encoder(self) -> nn.Module:
        return self.towers.image

    def forward(self, image: Tensor) -> Tensor:
        return self.towers.images(image)

    def read(self, texts: Sequence[str]) -> Tensor:
        return self.towers.texts(texts)

    @property
    def pair(self) -> TwoTowers | None:
        """What an export keeps of both encoders; None where embeddings need more than these."""
        return self.towers

    def first(self, batch: Views) -> tuple[Tensor, tuple[str, ...]]:
        """The first view of the images, and of their captions. Raises: UnmaskError for a batch without one."""
        if not batch.images or not batch.texts:
            raise InputError(f"{type(self).__name__} learns from images with captions, and this batch has not both")
        return batch.images[0], batch.texts[0]

    def load_pretrained(self, weights: Path) -> None:
        """The image encoder's weights: ours, timm's of ImageNet, or CLIP's as `unmask pull clip-vit-b-16` leaves it."""
        load_image(self.towers.image, self.towers.image_head, weights)
