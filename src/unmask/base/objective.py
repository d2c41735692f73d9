"""A pre-training objective: views of images, captions and sentences, labelled or not, teach an encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

from torch import Tensor, nn

from unmask.base.method import Method, check_image
from unmask.errors import InputError

Modality = Literal["image", "text"]


@dataclass
class Views:
    """B images, each in V views, which may differ in size; B captions or sentences, each in W views; or both.

    Attributes:
        images: of each view (B, 3, S_v, S_v) RGB in 0..1; none of a row of sentences.
        boxes: of each view (B, 4) x1, y1, x2, y2, where it was cropped from, in 0..1 of the stored image; x1 > x2 in a
            mirrored view.
        index: (B,) row of the data set.
        label: (B,) class that the recipe's `label` names, -1 = none: an identity, a method, real or fake.
        group: (B,) leakage group.
        texts: of each view B sentences.
    """

    images: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    index: Tensor
    label: Tensor
    group: Tensor | None = None
    texts: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.index)


class Objective(Method[Views]):
    """Teaches an encoder. `encoder` is what a run of it is for; heads, teachers and queues are thrown away after.

    A method writes `loss`, and `forward` where embeddings are more than what `encoder` returns. One that reads
    sentences names them in `modalities` and writes `read`.

    Attributes:
        modalities: what the objective can be called with, and what a batch of it holds;
        learns_from: the same of a batch, where it holds less.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    learns_from: ClassVar[tuple[Modality, ...]] = ()

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """(B, 3, S, S) RGB in 0..1 -> features; it owns its normalisation. Without images: sentences -> features."""

    @final  # type: ignore[misc]  # nn.Module holds it as an attribute
    def __call__(self, given: Tensor | Sequence[str]) -> Tensor:
        """Images (B, 3, H, W) RGB in 0..1, or B sentences -> (B, D), the embeddings that probes and users see.

        Those of an image and of its caption can be compared where an objective takes both.

        Raises: UnmaskError for images of another form, and for a modality that the objective does not take; a
            TypeError for embeddings of another form.
        """
        if "image" in self.modalities and not _sentences(given):
            check_image(given)
            found: Tensor = super().__call__(given)
        elif "text" in self.modalities and _sentences(given):
            found = self.read(given)  # type: ignore[arg-type]
        else:
            raise InputError(f"{type(self).__name__} takes {' and '.join(self.modalities)}, not {type(given).__name__}")
        if found.ndim != 2 or len(found) != len(given):
            raise TypeError(f"{type(self).__name__} must give (B, D) embeddings")
        return found

    def read(self, texts: Sequence[str]) -> Tensor:
        """B sentences -> (B, D)."""
        raise NotImplementedError(f"{type(self).__name__} has the modality text, and no read")

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


def _sentences(given: object) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(one, str) for one in given)
