"""PQ video (HDR10) -> what a standard display shows: numbers for light become numbers for a screen.

SMPTE ST 2084 codes light in cd/m². Reference white lies at 203 cd/m² (ITU-R BT.2408); what is below 0.8 of it is kept,
what is brighter is bent under 1. Wide colours (BT.2020) become those of BT.709, and light the signal of BT.709.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.types import Floats, Pixels

WHITE = 203.0  # cd/m²
KNEE = 0.8
_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128
# ITU-R BT.2087, table 4: linear BT.2020 -> linear BT.709.
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_STEPS = 4096  # of the table from light to signal, over the square root of light, where its steps are even to the eye


def light(code: Floats) -> Floats:
    """ST 2084: a signal in 0..1 -> cd/m², 0..10,000."""
    root = np.power(np.clip(code, 0, 1), 1 / _M2)
    return np.asarray(10_000 * np.power(np.maximum(root - _C1, 0) / (_C2 - _C3 * root), 1 / _M1), np.float32)


def bent(x: Floats) -> Floats:
    """Light over that of white -> 0..1: the same up to KNEE, above it ever less."""
    over = np.maximum(x - KNEE, 0)
    return np.asarray(np.minimum(x, KNEE) + (1 - KNEE) * (1 - np.exp(-over / (1 - KNEE))), np.float32)


def signal(x: Floats) -> Floats:
    """ITU-R BT.709: light in 0..1 -> signal in 0..1."""
    x = np.clip(x, 0, 1)
    return np.asarray(np.where(x < 0.018, 4.5 * x, 1.099 * np.power(np.maximum(x, 1e-9), 0.45) - 0.099), np.float32)


_LIGHT = light(np.arange(1 << 16, dtype=np.float32) / np.float32(65535)) / np.float32(WHITE)
_SIGNAL = np.round(255 * signal(np.square(np.arange(_STEPS, dtype=np.float32) / (_STEPS - 1)))).astype(np.uint8)


def tone_mapped(image: NDArray[np.uint16]) -> Pixels:
    """(H, W, 3) uint16 RGB, PQ in BT.2020 -> (H, W, 3) uint8, BT.709."""
    linear = bent(np.maximum(_LIGHT[image] @ TO_709.T, 0))
    return _SIGNAL[np.round(np.sqrt(linear) * (_STEPS - 1)).astype(np.uint16)]
