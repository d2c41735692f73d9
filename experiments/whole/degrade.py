"""What happens to an image on its way, the same to a real crop and to its round trip."""

from __future__ import annotations

import cv2
import numpy as np

from unmask.types import Pixels

SIDE = 128
SHRINKING = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def degrade(crop: Pixels, seed: int) -> Pixels:
    """A crop (H, W, 3), sides above 128 -> a tile (128, 128, 3): shrunk to a half at most, blurred, re-encoded.

    The same seed does the same to another crop of that size.
    """
    rng = np.random.default_rng(seed)
    scale = 1.0 if rng.random() < 0.35 else rng.uniform(max(0.5, (SIDE + 1) / min(crop.shape[:2])), 1.0)
    if scale < 1:
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=SHRINKING[rng.integers(4)])
    y, x = (int(rng.integers(0, side - SIDE + 1)) for side in crop.shape[:2])
    if rng.random() < 0.1:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.3, 0.8))
    kind = rng.random()
    if kind < 0.8:
        crop = reencode(crop, ".jpg", int(rng.uniform(55, 99)))
    elif kind < 0.92:
        crop = reencode(crop, ".webp", int(rng.uniform(50, 98)))
    tile = crop[y : y + SIDE, x : x + SIDE]
    return tile[:, ::-1] if rng.random() < 0.5 else tile


def reencode(image: Pixels, suffix: str, quality: int) -> Pixels:
    """RGB -> the same after a lossy file."""
    which = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}[suffix]
    data = cv2.imencode(suffix, image[..., ::-1], [which, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def half(image: Pixels, scale: float = 0.5) -> Pixels:
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


# One common step for both classes before they are compared; an image is never scored as its set delivers it.
CONDITIONS = {
    "JPEG 95": lambda image: reencode(image, ".jpg", 95),
    "three quarters, JPEG 90": lambda image: reencode(half(image, 0.75), ".jpg", 90),
    "half, JPEG 75": lambda image: reencode(half(image), ".jpg", 75),
}
