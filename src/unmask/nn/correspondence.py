"""Which places of two views' feature maps show the same spot of the image they were cropped from."""

from __future__ import annotations

import torch
from torch import Tensor


def bin_centres(box: Tensor, height: int, width: int) -> Tensor:
    """Centres of a feature map's bins, in coordinates of the image.

    Args:
        box: (B, 4) x1, y1, x2, y2 of the crop in 0..1 of the image; x1 > x2 in a mirrored view, y1 > y2 likewise.
    Returns: (B, height * width, 2), x and y, row by row.
    """
    x1, y1, x2, y2 = box[:, :, None].unbind(1)
    x = x1 + (x2 - x1) * (torch.arange(width, device=box.device, dtype=box.dtype) + 0.5) / width
    y = y1 + (y2 - y1) * (torch.arange(height, device=box.device, dtype=box.dtype) + 0.5) / height
    return torch.stack([x[:, None].expand(-1, height, -1), y[..., None].expand(-1, -1, width)], 3).flatten(1, 2)


def bin_distance(box1: Tensor, box2: Tensor, height: int, width: int) -> Tensor:
    """(B, HW, HW): distance of each bin of view 1 to each of view 2, in diagonals of the larger bin of the two views.

    Args:
        box1, box2: (B, 4), as in `bin_centres`.
    """
    bins = torch.tensor([width, height], device=box1.device, dtype=box1.dtype)
    diagonal = torch.stack([((b[:, 2:] - b[:, :2]) / bins).norm(dim=1) for b in (box1, box2)]).amax(0)
    one, two = (bin_centres(b, height, width) for b in (box1, box2))
    gap: Tensor = (one[:, :, None] - two[:, None]).norm(dim=3) / diagonal[:, None, None]
    return gap


def overlapping(box1: Tensor, box2: Tensor, height: int, width: int) -> Tensor:
    """(B, HW): whether the centre of each bin of view 1 lies inside view 2."""
    centre = bin_centres(box1, height, width)
    corners = box2.view(-1, 2, 2)
    low, high = corners.amin(1), corners.amax(1)
    inside: Tensor = ((centre >= low[:, None]) & (centre <= high[:, None])).all(2)
    return inside
