"""A detector: RGB in, real or fake out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor
from torch.nn import functional as F

from unmask.base.method import Method, check_image
from unmask.errors import InputError, UnmaskError


@dataclass
class Batch:
    image: Tensor  # (B, 3, H, W) RGB in 0..1; of a video detector (B, T, 3, H, W), and likewise views and masks
    label: Tensor  # (B,) index into Detector.classes; 1 = fake
    group: Tensor | None = None  # (B,) leakage group
    pair: Tensor | None = None  # (B,) equal for a real image and the forgeries made from it; -1 = of no pair
    method: Tensor | None = None  # (B,) what made it
    index: Tensor | None = None  # (B,) row of the data set
    views: Tensor | None = None  # (B, V, 3, H, W) each image once more in V ways, as the recipe's `views` say
    mask: Tensor | None = None  # (B, H, W) how much of each pixel was forged, 0..1; NaN where it is not known
    points: Tensor | None = None  # (B, 5, 2) the face's five points, pixels of `image`; NaN where they are not known
    identity: Tensor | None = None  # (B,) whose face it is; -1 = not known
    domain: Tensor | None = None  # (B,) which data set it comes from
    weigh: Callable[[Tensor], Tensor] | None = None  # logits (k B, K) -> how much each image counts, (B,), mean 1


@dataclass
class Output:
    logits: Tensor  # (B, K)
    features: Tensor  # (B, D)


class Detector(Method[Batch]):
    """Tells real from fake. It takes RGB in 0..1 and owns its normalisation.

    One whose `input.frames` is T > 1 takes windows of T frames in a row, (B, T, 3, H, W), wherever (B, 3, H, W) stands.
    """

    classes: tuple[str, ...] = ("real", "fake")

    @final  # type: ignore[misc]  # nn.Module holds it as an attribute
    def __call__(self, image: Tensor) -> Output:
        """Raises: UnmaskError for images that are no float tensor (B, 3, H, W), windows of other than T frames, and
        images of another size than `input` says, where the network cannot take it."""
        check_image(image, self.input.frames)
        try:
            found: Output = super().__call__(image)
        except (RuntimeError, ValueError, AssertionError) as error:
            height, width, size = *image.shape[-2:], self.input.size
            if isinstance(error, UnmaskError) or (height, width) == (size, size):
                raise
            raise InputError(
                f"{type(self).__name__} is built for crops of {size} x {size} pixels and fails on {width} x {height}: "
                f"{error}"
            ) from error
        return found

    @abstractmethod
    def forward(self, image: Tensor) -> Output:
        """(B, 3, H, W) in 0..1 -> logits (B, K), features (B, D)."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named, already weighted terms; their sum is minimised."""
        return {"cls": cross_entropy(self(batch.image).logits, batch)}

    def merge(self) -> dict[str, Any]:
        """Fold in what was added for training (adapters), in place, before export.

        Returns: the options that build the detector as it is now, where they differ.
        """
        return {}


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Mean over images of w_i CE_i, with the weights that the batch asks for (`Batch.weigh`), or none.

    Args:
        logits: (k B, K): k views of the batch one after the other; an image counts the same in each.
    """
    label = batch.label.repeat(len(logits) // len(batch.label))
    if batch.weigh is None:
        return F.cross_entropy(logits, label)
    each = F.cross_entropy(logits, label, reduction="none")
    return (batch.weigh(logits).repeat(len(each) // len(batch.label)) * each).mean()
