"""Soft masks of the facial organs, and a network whose early maps are multiplied by them (the ADD block).

Zi et al.: "WildDeepfake: A Challenging Real-World Dataset for Deepfake Detection", ACM MM 2020, arXiv 2101.01456. The
mask's constants are ours: the paper's figure shows a grey face with brighter organs and soft borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.data.landmarks import (
    LEFT_BROW,
    LEFT_EYE,
    MOUTH,
    NOSE,
    RIGHT_BROW,
    RIGHT_EYE,
    Landmarks,
    filled,
    from_five,
)
from unmask.errors import UnmaskError
from unmask.nn.convnets import ConvNet
from unmask.types import Floats

ORGANS = (RIGHT_BROW, LEFT_BROW, RIGHT_EYE, LEFT_EYE, NOSE, MOUTH)
ROOM = 1.1  # the hull is widened, or the border of a blend would lie outside of what is looked at


def organ_mask(face: Landmarks, side: int) -> Floats:
    """float32 (side, side) in 0..1: half for the face's widened hull, as much again for brows, eyes, nose and mouth.

    Blurred by a Gaussian of about a sixteenth of the side, and scaled to a maximum of 1.
    """
    hull = face.points[:68]
    middle = hull.mean(0)
    mask = 0.5 * filled(np.asarray(middle + ROOM * (hull - middle), np.float32), side)
    organs = np.zeros_like(mask)
    for organ in ORGANS:
        organs = np.maximum(organs, filled(face.at(organ), side))
    kernel = side // 16 | 1
    soft = np.asarray(cv2.GaussianBlur(mask + 0.5 * organs, (kernel, kernel), 0), np.float32)
    return soft / max(float(soft.max()), 1e-6)


def organ_masks(points: Tensor, side: int) -> Tensor:
    """Five points of each face (B, 5, 2), pixels -> (B, 1, side, side); 1 everywhere where they are NaN or no face."""
    return torch.from_numpy(np.stack([_mask(five, side) for five in points.cpu().numpy()])).to(points.device)[:, None]


def _mask(five: Floats, side: int) -> Floats:
    if np.isnan(five).any():
        return np.ones((side, side), np.float32)
    try:
        return organ_mask(from_five(five), side)
    except UnmaskError:
        return np.ones((side, side), np.float32)


def sides(network: str, size: int, cuts: Sequence[str]) -> list[int]:
    """Side of the maps after each of some steps of a network, for images of `size` pixels."""
    with torch.device("meta"):
        body, maps, found = ConvNet(network).eval(), torch.zeros(1, 3, size, size), []
        for after, until in pairwise((None, *cuts)):
            maps = body.run(maps, after, until)
            found.append(maps.shape[-1])
    return found


def pyramid(mask: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """(B, 1, S, S) -> the mask, and its means over cells at each of the sides, each made of the one before."""
    masks = [mask]
    for side in sides:
        masks.append(F.adaptive_avg_pool2d(masks[-1], side))
    return masks


def masked_maps(body: ConvNet, cuts: Sequence[str], image: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """The ADD block: the normalised image and the maps after each of the steps `cuts`, multiplied by their masks.

    Args:
        image: (B, 3, S, S) in 0..1.
        masks: of `pyramid`, one more than cuts.
    Returns: the maps after the last cut.
    """
    maps = body.normalised(image) * masks[0]
    for (after, until), mask in zip(pairwise((None, *cuts)), masks[1:], strict=True):
        maps = body.run(maps, after, until) * mask
    return maps
