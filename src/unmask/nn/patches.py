"""Images as grids of square patches, and random choices among them."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.errors import InputError


def patches(image: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (B, N, C, size, size), row by row. Raises: UnmaskError where `size` does not divide the sides."""
    height, width = image.shape[-2:]
    if height % size or width % size:
        raise InputError(f"images of {height} x {width} do not divide into patches of {size}: resize or pad them first")
    grid: Tensor = image.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, C, rows, size, columns, size)
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def patchify(image: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (B, N, size * size * C): the pixels of a patch row by row, the channels of a pixel together.

    The order is MAE's (He et al., CVPR 2022), so that the heads of published pixel decoders fit.
    """
    return patches(image, size).permute(0, 1, 3, 4, 2).flatten(2)


def unpatchify(tokens: Tensor, size: int) -> Tensor:
    """The inverse of `patchify` for square images: (B, N, size * size * C) -> (B, C, H, H)."""
    side = round(tokens.shape[1] ** 0.5)
    grid: Tensor = tokens.unflatten(2, (size, size, -1)).unflatten(1, (side, side))  # (B, rows, columns, size, size, C)
    return grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def split(batch: int, count: int, hidden: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Hide a random few of `count` patches of each image.

    Args:
        generator: of the CPU.
    Returns: indices of the shown (B, count - hidden) and of the hidden (B, hidden), each ascending.
    Raises: UnmaskError unless 1 <= hidden < count.
    """
    if not 1 <= hidden < count:
        raise InputError(f"{hidden} of {count} patches cannot be hidden: at least one must be, and one must stay")
    order = torch.rand(batch, count, generator=generator).argsort(1)
    return order[:, hidden:].sort(1).values, order[:, :hidden].sort(1).values


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """(B, N, ...), (B, K) -> (B, K, ...): other tokens of each image."""
    place = index.to(tokens.device).reshape(*index.shape, *[1] * (tokens.dim() - 2))
    return tokens.gather(1, place.expand(*index.shape, *tokens.shape[2:]))


def visible(mask: Tensor) -> Tensor:
    """Indices of the places that a mask (B, N), True = masked, leaves: (B, V), ascending.

    Raises: UnmaskError unless every image keeps equally many.
    """
    kept = (~mask).sum(1)
    if (kept != kept[0]).any():
        raise InputError("a mask must leave equally many patches of each image, or they make no batch")
    return mask.long().argsort(dim=1, stable=True)[:, : int(kept[0])]


def restore(shown: Tensor, index: Tensor, count: int, token: Tensor) -> Tensor:
    """Put (B, V, D) tokens back to their places (B, V) among `count`; a `token` (D,) stands everywhere else."""
    full = token.to(shown.dtype).expand(len(shown), count, -1)
    return full.scatter(1, index.to(shown.device)[..., None].expand_as(shown), shown)


def reconstruction(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over masked patches of the squared error to each patch's normalised pixels, (x - mean) / sqrt(var + 1e-6).

    Args:
        predicted, target: (B, N, P), target in plain pixels; the variance is the unbiased one, as in MAE.
        mask: bool (B, N). Where it is empty the loss is 0.
    """
    mean, var = target.mean(2, keepdim=True), target.var(2, keepdim=True)
    error = (predicted - (target - mean) / (var + 1e-6).sqrt()).square().mean(2)
    return (error * mask).sum() / mask.sum().clamp(min=1)
