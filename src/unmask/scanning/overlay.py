"""A map of an explainer (`unmask.explainers`) drawn over its crop, and crops as JPEG for reports."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from unmask.types import Floats, Pixels

FAINT = 0.5  # logits: a map whose strongest part moves the score by less is shown as faintly as it is


def overlay(crop: Pixels, heat: Floats) -> Pixels:
    """The crop (S, S, 3) with the strongest parts of a map (h, w) in red: uint8 (S, S, 3)."""
    size = crop.shape[0]
    strength = Image.fromarray(heat / max(float(heat.max()), FAINT)).resize((size, size), Image.Resampling.BICUBIC)
    alpha = 0.65 * np.clip(np.asarray(strength), 0, 1)[..., None]
    grey = crop.mean(axis=2, keepdims=True)  # without its own colours, red can only mean heat
    return np.asarray((1 - alpha) * grey + alpha * np.array([230.0, 40.0, 30.0])).round().astype(np.uint8)


def jpeg(image: Pixels) -> bytes:
    """The image (H, W, 3) as JPEG bytes for a report."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=88)
    return out.getvalue()
