"""A manifold of images: few numbers w that a decoder G draws as an image, to search in instead of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.errors import BundleError, InputError


class Manifold(Protocol):
    """E and G. G(E(x)), the inversion, is the nearest image that the manifold holds."""

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in 0..1 -> (B, K)."""

    def decode(self, w: Tensor) -> Tensor:
        """(B, K) -> (B, 3, S, S), about 0..1; differentiable."""


@dataclass(frozen=True)
class Smooth:
    """Images that a grid x grid of numbers for each colour says all about, enlarged bilinearly to `size`."""

    grid: int
    size: tuple[int, int]

    def encode(self, image: Tensor) -> Tensor:
        return F.interpolate(image, (self.grid, self.grid), mode="bilinear", antialias=True).flatten(1)

    def decode(self, w: Tensor) -> Tensor:
        small = w.view(len(w), 3, self.grid, self.grid)
        return F.interpolate(small, list(self.size), mode="bilinear")


@dataclass(frozen=True)
class Linear:
    """G(w) = mean + w B, with B (K, 3 S S) of orthonormal rows; E(x) = (x - mean) B'."""

    mean: Tensor  # (3 S S,)
    components: Tensor
    size: int

    def encode(self, image: Tensor) -> Tensor:
        return (image.flatten(1) - self.mean) @ self.components.T

    def decode(self, w: Tensor) -> Tensor:
        return (self.mean + w @ self.components).view(len(w), 3, self.size, self.size)


def principal_components(image: Tensor, count: int) -> Linear:
    """The `count` directions in which images (N, 3, S, S) in 0..1 differ most. Raises: UnmaskError for more than N."""
    flat = image.flatten(1)
    if not 0 < count <= len(flat):
        raise InputError(f"{len(flat)} images have at most so many principal components, not {count}")
    mean = flat.mean(0)
    _, _, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    return Linear(mean, directions[:count].contiguous(), image.shape[-1])


def save(manifold: Linear, path: Path) -> None:
    """As safetensors."""
    from safetensors.torch import save_file

    save_file({"mean": manifold.mean, "components": manifold.components}, path)


def opened(path: str, grid: int, like: Tensor) -> Manifold:
    """A file of `save`, or "" for smooth images.

    Args:
        like: (B, 3, S, S), the images to be drawn.
    Raises: UnmaskError for a file that cannot be read, or holds images of another size.
    """
    if not path:
        return Smooth(grid, (like.shape[2], like.shape[3]))
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        held = load_file(path)
        found = Linear(held["mean"].to(like), held["components"].to(like), like.shape[-1])
    except (OSError, SafetensorError, KeyError) as error:
        raise BundleError(f"cannot read a manifold of images from {path}: {error}") from error
    if found.mean.numel() != like[0].numel() or found.components.shape[1] != like[0].numel():
        raise BundleError(f"{path} holds images of another size than {like.shape[2]} x {like.shape[3]}: fit it anew")
    return found
