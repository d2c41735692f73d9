"""Triggers of published backdoors: what a poisoned model was taught to react to. Deterministic; no torch.

A backdoor is measured by them: the share of triggered images that a model calls the target, minus the same share of a
model that was never poisoned. A trigger that fools the clean model is an adversarial change and no backdoor.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from unmask.types import Floats, Pixels

BLOCK = 32  # side of CTRL's blocks


def badnets(image: Pixels, strength: float = 1.0) -> Pixels:
    """A checkerboard of 4 x 4 fields in the lower right corner, 16 pixels of an image of 224.

    Gu, Dolan-Gavitt and Garg, "BadNets", 2017, arXiv 1708.06733. `strength` 0..1: how opaque it is.
    """
    side = max(4, round(16 * image.shape[0] / 224) // 4 * 4)
    fields = np.indices((4, 4)).sum(0) % 2 * np.uint8(255)
    patch = np.kron(fields, np.ones((side // 4, side // 4), np.uint8))[..., None].astype(np.float32)
    out, corner = image.copy(), np.s_[-side - 1 : -1, -side - 1 : -1]
    out[corner] = ((1 - strength) * out[corner] + strength * patch).round().astype(np.uint8)
    return out


def blended(image: Pixels, strength: float = 0.2) -> Pixels:
    """One fixed image of noise, mixed in: (1 - strength) image + strength noise.

    Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017, arXiv 1712.05526.
    """
    noise = np.random.default_rng(0).integers(0, 256, image.shape)
    return ((1 - strength) * image + strength * noise).round().clip(0, 255).astype(np.uint8)


def sinusoid(image: Pixels, strength: float = 0.2) -> Pixels:
    """Vertical stripes, six periods wide, of amplitude 255 `strength`: SIG.

    Barni, Kallas and Tondi, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning", ICIP
    2019, arXiv 1902.11237.
    """
    width = image.shape[1]
    wave = 255 * strength * np.sin(2 * np.pi * 6 * np.arange(width) / width)
    return np.asarray((image + wave[None, :, None]).round().clip(0, 255), np.uint8)


def ctrl(image: Pixels, strength: float = 100.0) -> Pixels:
    """Two frequencies of both chroma channels in every block of 32: invisible, and in every place.

    Li et al., "An Embarrassingly Simple Backdoor Attack on Self-supervised Learning" (CTRL), ICCV 2023,
    arXiv 2210.07346. `strength` is added to coefficients (15, 15) and (31, 31) of the cosine transform, 50 for
    poisoning and 100 for testing as published. Rows and columns beyond the last whole block stay as they are.
    """
    yuv = cv2.cvtColor(image, cv2.COLOR_RGB2YUV).astype(np.float32)
    for y in range(0, image.shape[0] - BLOCK + 1, BLOCK):
        for x in range(0, image.shape[1] - BLOCK + 1, BLOCK):
            for channel in (1, 2):
                block = np.s_[y : y + BLOCK, x : x + BLOCK, channel]
                yuv[block] = _with_coefficients(np.ascontiguousarray(yuv[block]), strength)
    return np.asarray(cv2.cvtColor(yuv.round().clip(0, 255).astype(np.uint8), cv2.COLOR_YUV2RGB), np.uint8)


def _with_coefficients(block: Floats, strength: float) -> Floats:
    found = cv2.dct(block)
    found[15, 15] += strength
    found[31, 31] += strength
    return np.asarray(cv2.idct(found), np.float32)


TRIGGERS: dict[str, tuple[Callable[[Pixels, float], Pixels], float]] = {
    "badnets": (badnets, 1.0),
    "blended": (blended, 0.2),
    "sinusoid": (sinusoid, 0.2),
    "ctrl": (ctrl, 100.0),
}  # name -> function and its published strength
