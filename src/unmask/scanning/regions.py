"""Which part of a face the score rests on: the parts are found by landmarks, hidden in turn, and the crop scored again.

This is a measurement of the detector and not of the image: it shows where the detector looks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from unmask.explainers.occlusion import GREY
from unmask.types import Floats, Pixels

REACH = 0.35  # of the distance between the eyes: half the side of the square over an eye or the nose
AROUND = 0.7  # likewise: how far the face goes beyond its five points
NAMES = ("eyes", "nose", "mouth", "surroundings")


def regions(points: Floats, size: int) -> Mapping[str, NDArray[np.bool_]]:
    """Masks (size, size) of the parts of a face that lie in the crop.

    Args:
        points: (5, 2) x, y in pixels of the crop: left eye, right eye, nose tip, left and right mouth corner.
    """
    eyes, nose, mouth = points[:2], points[2:3], points[3:]
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    reach = REACH * apart
    masks = {
        "eyes": _box(eyes[:1], reach, size) | _box(eyes[1:], reach, size),
        "nose": _box(nose, reach, size),
        "mouth": _box(mouth, reach, size),
        "surroundings": ~_box(points, AROUND * apart, size),
    }
    return {name: masks[name] for name in NAMES if masks[name].any()}


def hidden(crop: Pixels, masks: Mapping[str, NDArray[np.bool_]]) -> Pixels:
    """(regions, size, size, 3): the crop (size, size, 3) with one part greyed in each."""
    return np.stack([np.where(mask[..., None], GREY, crop).astype(np.uint8) for mask in masks.values()])


def in_crop(points: Floats, matrix: Floats) -> Floats:
    """Points (n, 2) of the frame, in the crop that the matrix (2, 3) leads to."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _box(points: Floats, reach: float, size: int) -> NDArray[np.bool_]:
    """True within `reach` of the points' bounding box."""
    (left, top), (right, bottom) = points.min(axis=0) - reach, points.max(axis=0) + reach
    y, x = np.mgrid[:size, :size]
    return np.asarray((x >= left) & (x <= right) & (y >= top) & (y <= bottom), np.bool_)
