"""What happens to a picture on its way to the viewer, applied alike to both classes.

A real face and its forged twin get one and the same draw of every parameter: what differs between the two afterwards
is the forgery. This keeps a detector from learning file formats (the spectrum alone separates some sets).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.data.crops import WIDE
from unmask.data.degrade import blurred, jpeg, levels, noisy, resized
from unmask.nouns import InputSpec, Pixels


def together(images: Sequence[Pixels], spec: InputSpec, rng: np.random.Generator) -> list[Pixels]:
    """Wide crops (256, 256, 3) of one group -> (size, size, 3) each, all changed by the same random draw."""
    seed = int(rng.integers(2**63))
    return [degrade(place(i, spec, r), r) for i, r in ((i, np.random.default_rng(seed)) for i in images)]


def place(image: Pixels, spec: InputSpec, rng: np.random.Generator | None = None) -> Pixels:
    """Cut the detector's crop out of the wide one: exactly, or turned, scaled and shifted as a finder's error would."""
    scale = spec.size / spec.margin * WIDE.margin / WIDE.size
    angle, shift, flip, way = 0.0, np.zeros(2), False, cv2.INTER_LINEAR
    if rng is not None:
        scale *= rng.uniform(0.88, 1.14)
        angle, shift, flip = rng.uniform(-8, 8), rng.uniform(-0.04, 0.04, 2) * spec.size, rng.random() < 0.5
        way = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    middle = WIDE.size / 2 - 0.5
    move = np.asarray(cv2.getRotationMatrix2D((middle, middle), angle, scale), np.float64)
    move[:, 2] = move[:, 2] + spec.size / 2 - 0.5 - middle + shift
    out = cv2.warpAffine(image, move, (spec.size, spec.size), flags=way, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.asarray(out, np.uint8)[:, ::-1] if flip else np.asarray(out, np.uint8))


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
