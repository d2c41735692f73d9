"""What cameras, forgery methods and web sites do to pixels, in single pure steps: for augmentation and for forging."""

from __future__ import annotations

import cv2
import numpy as np

from unmask.types import Pixels


def levels(image: Pixels, contrast: float = 1, brightness: float = 0, saturation: float = 1, tint: float = 0) -> Pixels:
    """Contrast about 128, brightness, saturation about the mean of RGB, then red against blue; offsets in levels."""
    x = (image.astype(np.float32) - 128) * np.float32(contrast) + np.float32(128 + brightness)
    if saturation != 1:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * np.float32(saturation)
    if tint:
        x = x + np.array([tint, 0, -tint], np.float32)
    return x.round().clip(0, 255).astype(np.uint8)


def resized(image: Pixels, factor: float, up: int = cv2.INTER_LINEAR, down: int = cv2.INTER_AREA) -> Pixels:
    """Down to `factor` < 1 of both sides (at least 8 pixels) and up again, by OpenCV's interpolations."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(8, round(width * factor)), max(8, round(height * factor))), interpolation=down)
    return np.asarray(cv2.resize(small, (width, height), interpolation=up), np.uint8)


def pixelated(image: Pixels, factor: int) -> Pixels:
    """Both sides divided by a whole number and back, bilinear both ways, so that pixels between samples are dropped."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def blurred(image: Pixels, sigma: float, kernel: int = 0) -> Pixels:
    """Gaussian, sigma in pixels; `kernel`: its odd side, 0 = as wide as sigma asks for."""
    return np.asarray(cv2.GaussianBlur(image, (kernel, kernel), sigma), np.uint8)


def sharpened(image: Pixels, sigma: float, amount: float = 0.8) -> Pixels:
    """Unsharp mask."""
    return np.asarray(cv2.addWeighted(image, 1 + amount, blurred(image, sigma), -amount, 0), np.uint8)


def noisy(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of `sigma` grey levels, independent in each pixel and channel."""
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def jpeg(image: Pixels, quality: int) -> Pixels:
    """Encoded and decoded again; chroma at half resolution, as nearly all JPEG of the net."""
    return _coded(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def webp(image: Pixels, quality: int) -> Pixels:
    """Encoded by lossy WebP, 1 <= quality <= 100, and decoded again."""
    return _coded(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def _coded(image: Pixels, suffix: str, option: int, quality: int) -> Pixels:
    written, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [option, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert written and decoded is not None  # an image in memory cannot fail to encode
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def degrade(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Colour, loss of resolution, blur, noise and one or two JPEGs, each with some probability."""
    out = image
    if rng.random() < 0.5:
        out = levels(out, rng.uniform(0.8, 1.2), rng.uniform(-20, 20))
    if rng.random() < 0.4:
        out = levels(out, saturation=rng.uniform(0.3, 1.4), tint=rng.uniform(-8, 8))
    if rng.random() < 0.4:
        up, down = rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]), rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])
        out = resized(out, rng.uniform(0.35, 0.95), int(up), int(down))
    if rng.random() < 0.2:
        out = blurred(out, rng.uniform(0.3, 1.4))
    if rng.random() < 0.2:
        out = noisy(out, rng.uniform(1, 7), rng)
    for p in (0.7, 0.2):
        if rng.random() < p:
            out = jpeg(out, int(rng.integers(40, 97)))
    return out
