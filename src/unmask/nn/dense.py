"""What pre-training place by place shares: the branch from image to projected maps, and its two views."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unmask.errors import InputError
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head


class DenseBranch(nn.Module):
    """(B, 3, S, S) in 0..1 -> the encoder's maps (B, D, h, w), and their 1 x 1 projection (B, D', h, w)."""

    def __init__(self, network: str, hidden: int, width: int) -> None:
        super().__init__()
        self.encoder = ConvNet(network)
        self.projector = head([self.encoder.features, hidden, width], maps=True)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.encoder(image)
        return maps, self.projector(maps)


def two_views(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The views of a batch. Raises: UnmaskError unless there are two, of one size."""
    if len(images) != 2 or images[0].shape != images[1].shape:
        sizes = ", ".join(str(tuple(v.shape[2:])) for v in images)
        raise InputError(f"this objective compares two views of one size, not {len(images)} ({sizes}): see `views`")
    return images[0], images[1]
