"""What happens to an image on its way to the person who asks about it: twelve ways, each giving a new file's bytes.

None of them changes what the image shows, so none may turn its verdict round. All are deterministic.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from unmask.types import Pixels

Redelivery = Callable[[Pixels], bytes]


def within(image: Pixels, side: int) -> Pixels:
    """Shrunk by area averaging so that the longer side is at most `side` pixels; never enlarged."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) if factor < 1 else image


def thumbnail(image: Pixels) -> bytes:
    """Longer side 320 pixels, JPEG 80: what a page shows in a list."""
    return _jpeg(within(image, 320), 80)


def cropped(image: Pixels) -> bytes:
    """A twentieth cut off on each side, JPEG 92."""
    height, width = image.shape[:2]
    return _jpeg(image[height // 20 : height - height // 20, width // 20 : width - width // 20], 92)


def letterboxed(image: Pixels) -> bytes:
    """Black bars on both sides up to 16:9, or above and below, JPEG 92."""
    height, width = image.shape[:2]
    wide, high = max(width, round(height * 16 / 9)), max(height, round(width * 9 / 16))
    out = np.zeros((high, wide, 3), np.uint8)
    y, x = (high - height) // 2, (wide - width) // 2
    out[y : y + height, x : x + width] = image
    return _jpeg(out, 92)


def screenshot(image: Pixels) -> bytes:
    """Shown at 1.25 of its size on a light page with a dark bar above, saved as PNG."""
    height, width = (round(n * 1.25) for n in image.shape[:2])
    shown = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.full((height + 120, width + 80, 3), 244, np.uint8)
    out[:72] = 32
    out[96 : 96 + height, 40 : 40 + width] = shown
    return _saved(out, "PNG")


def collage(image: Pixels) -> bytes:
    """One of four tiles; the others are plain grey ramps, so that no other face enters. JPEG 90."""
    width = image.shape[1]
    ramp = np.linspace(90, 200, width, dtype=np.uint8)
    tile = np.broadcast_to(ramp[None, :, None], image.shape)
    return _jpeg(np.concatenate([np.concatenate([image, tile], 1), np.concatenate([tile, tile], 1)], 0), 90)


def messenger(image: Pixels) -> bytes:
    """Longer side 1,600 pixels, JPEG 75."""
    return _jpeg(within(image, 1600), 75)


def forwarded(image: Pixels) -> bytes:
    """Sent on through two messengers: 1,600 pixels and JPEG 75, then 1,280 and JPEG 70."""
    return _jpeg(within(_decoded(messenger(image)), 1280), 70)


def brightened(image: Pixels) -> bytes:
    """Gamma 0.75, as an "enhance" button does, JPEG 92."""
    table = (255 * (np.arange(256) / 255) ** 0.75).round().astype(np.uint8)
    return _jpeg(table[image], 92)


REDELIVERIES: dict[str, Redelivery] = {
    "thumbnail": thumbnail,
    "jpeg-40": lambda image: _jpeg(image, 40),
    "webp-50": lambda image: _saved(image, "WEBP", quality=50),
    "crop": cropped,
    "letterbox": letterboxed,
    "screenshot": screenshot,
    "collage": collage,
    "messenger": messenger,
    "messenger-twice": forwarded,
    "gamma": brightened,
    "flip": lambda image: _jpeg(np.ascontiguousarray(image[:, ::-1]), 92),
    "re-encode": lambda image: _jpeg(image, 92),
}


def _jpeg(image: Pixels, quality: int) -> bytes:
    return _saved(image, "JPEG", quality=quality)


def _saved(image: Pixels, form: str, quality: int | None = None) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, form, **({} if quality is None else {"quality": quality}))
    return out.getvalue()


def _decoded(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.uint8)
