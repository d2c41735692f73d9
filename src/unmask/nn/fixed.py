"""For methods whose weights or matrices are made for images of one size."""

from __future__ import annotations

from torch import Tensor

from unmask.errors import InputError


def exactly(image: Tensor, size: int) -> Tensor:
    """The image as it is. Raises: UnmaskError for one of another size."""
    if image.shape[-2:] != (size, size):
        raise InputError(f"crops of {size} x {size} pixels are wanted, not {image.shape[-2]} x {image.shape[-1]}")
    return image
