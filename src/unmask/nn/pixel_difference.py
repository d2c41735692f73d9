"""Convolutions of differences between pixels: they see texture and are blind to flat colour.

Su et al.: "Pixel Difference Networks for Efficient Edge Detection", ICCV 2021, arXiv 2108.07009. As three results of
one kernel, mixed by the image itself: Ni et al., TSOM, WACV 2025, arXiv 2404.13873.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TURN = (3, 0, 1, 6, 4, 2, 7, 8, 5)  # of the nine places: each neighbour in the place of the next one round the centre
RING = (0, 1, 2, 3, 5, 6, 7, 8)
OUTER, INNER = (0, 2, 4, 10, 14, 20, 22, 24), (6, 7, 8, 11, 13, 16, 17, 18)  # of 5 x 5, in the ring's order


def central(weight: Tensor) -> Tensor:
    """Each neighbour minus the centre: the kernel's sum is taken from its middle. (O, I, 3, 3) -> the same."""
    kernel = weight.flatten(2).clone()
    kernel[..., 4] -= weight.sum((2, 3))
    return kernel.view_as(weight)


def angular(weight: Tensor) -> Tensor:
    """Each neighbour minus the next one round the centre."""
    flat = weight.flatten(2)
    return (flat - flat[..., list(TURN)]).view_as(weight)


def radial(weight: Tensor) -> Tensor:
    """Each place of an outer ring minus that of the inner one in the same direction: (O, I, 3, 3) -> (O, I, 5, 5)."""
    flat = weight.flatten(2)[..., list(RING)]
    kernel = torch.zeros(*weight.shape[:2], 25, dtype=weight.dtype, device=weight.device)
    kernel[..., list(OUTER)], kernel[..., list(INNER)] = flat, -flat
    return kernel.view(*weight.shape[:2], 5, 5)


class PixelDifference(nn.Module):
    """Central, angular and radial differences by one kernel, mixed by shares that a small network reads off the map.

    Maps (B, C, h, w) in and out. The authors' small network flattens its last map; here its mean over places is taken,
    so that the side may be any.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        widths = (width, max(width // 2, 4), max(width // 4, 4), 3)
        layers = [part for a, b in pairwise(widths) for part in (nn.Conv2d(a, b, 3, padding=1), nn.LeakyReLU())]
        self.look, self.share = nn.Sequential(*layers), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.share(self.look(x).mean((2, 3))).softmax(1)[:, :, None, None, None]
        kernels = ((central(self.weight), 1), (angular(self.weight), 1), (radial(self.weight), 2))
        results = torch.stack([F.conv2d(x, kernel, padding=room) for kernel, room in kernels], 1)
        mixed: Tensor = (shares * results).sum(1)
        return mixed
