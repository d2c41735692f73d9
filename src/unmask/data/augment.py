"""What happens to a picture on its way to the viewer, applied alike to both classes.

A real face and its forged twin get one and the same draw of every parameter: whatever differs between the two afterwards
is the forgery. This is what keeps a detector from learning file formats (the spectrum alone separates some sets).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.data.crops import WIDE
from unmask.nouns import InputSpec, Pixels


def together(images: Sequence[Pixels], spec: InputSpec, rng: np.random.Generator) -> list[Pixels]:
    """Wide crops (256, 256, 3) of one group -> (size, size, 3) each, all changed by the same random draw."""
    seed = int(rng.integers(2**63))
    return [degrade(place(i, spec, r), r) for i, r in ((i, np.random.default_rng(seed)) for i in images)]


def place(image: Pixels, spec: InputSpec, rng: np.random.Generator | None = None) -> Pixels:
    """Cut the detector's crop out of the wide one: exactly, or turned, scaled and shifted as a finder's error would."""
    scale = spec.size / spec.margin * WIDE.margin / WIDE.size
    angle, shift, flip = 0.0, np.zeros(2), False
    way = cv2.INTER_AREA
    if rng is not None:
        scale *= rng.uniform(0.88, 1.14)
        angle, shift, flip = rng.uniform(-8, 8), rng.uniform(-0.04, 0.04, 2) * spec.size, rng.random() < 0.5
        way = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    middle = WIDE.size / 2 - 0.5
    m = cv2.getRotationMatrix2D((middle, middle), angle, scale)
    m[:, 2] += spec.size / 2 - 0.5 - middle + shift
    if way == cv2.INTER_AREA:
        way = cv2.INTER_LINEAR
    out = cv2.warpAffine(image, m, (spec.size, spec.size), flags=way, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(out[:, ::-1]) if flip else out  # type: ignore[return-value]


def degrade(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Colour, loss of resolution, blur, noise and one or two JPEGs, each with some probability."""
    x = image.astype(np.float32)
    if rng.random() < 0.5:
        x = (x - 128) * rng.uniform(0.8, 1.2) + 128 + rng.uniform(-20, 20)
    if rng.random() < 0.3:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0.3, 1.4)
    if rng.random() < 0.2:
        x = x + rng.uniform(-10, 10, 3).astype(np.float32)
    out = x.round().clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        out = _resized(out, rng.uniform(0.35, 0.95), rng)
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1.4))  # type: ignore[assignment]
    if rng.random() < 0.2:
        noise = rng.normal(0, rng.uniform(1, 7), out.shape)
        out = (out + noise).round().clip(0, 255).astype(np.uint8)
    for p in (0.7, 0.2):
        if rng.random() < p:
            out = _jpeg(out, int(rng.integers(40, 97)))
    return out


def _resized(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    side = image.shape[0]
    down, up = rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR]), rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])
    small = cv2.resize(image, (round(side * factor),) * 2, interpolation=int(down))
    return cv2.resize(small, (side, side), interpolation=int(up))  # type: ignore[return-value]


def _jpeg(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]  # type: ignore[return-value]
