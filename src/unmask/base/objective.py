"""A pre-training objective: views of images, labelled or not, teach an encoder."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor, nn

from unmask.base.method import Method, check_image


@dataclass
class Views:
    """B images, each in V views, which may differ in size.

    Attributes:
        images: of each view (B, 3, S_v, S_v) RGB in 0..1.
        boxes: of each view (B, 4) x1, y1, x2, y2, where it was cropped from, in 0..1 of the stored image; x1 > x2 in a
            mirrored view.
        index: (B,) row of the data set.
        label: (B,) class that the recipe's `label` names, -1 = none: an identity, a method, real or fake.
        group: (B,) leakage group.
    """

    images: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    index: Tensor
    label: Tensor
    group: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)


class Objective(Method[Views]):
    """Teaches an encoder. `encoder` is what a run of it is for; heads, teachers and queues are thrown away after.

    A method writes `loss`, and `forward` where embeddings are more than what `encoder` returns.
    """

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """(B, 3, S, S) RGB in 0..1 -> features; it owns its normalisation."""

    @final  # type: ignore[misc]  # nn.Module holds it as an attribute
    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in 0..1 -> (B, D), the embeddings that probes and users see.

        Raises: UnmaskError for images of another form, and a TypeError for embeddings of one.
        """
        check_image(image)
        found: Tensor = super().__call__(image)
        if found.ndim != 2 or len(found) != len(image):
            raise TypeError(f"{type(self).__name__}.forward must return (B, D) embeddings")
        return found

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D). Maps of a convolutional encoder are averaged over places."""
        found: Tensor = self.encoder(image)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder alone. A method with a teacher lets it follow.

        Raises: UnmaskError for a file that does not fit, and an encoder that reads none.
        """
        load = getattr(self.encoder, "load_pretrained", None)
        if not callable(load):
            return super().load_pretrained(weights)
        load(weights)
        return None
