"""The floor: what a linear model makes of nothing but the power spectrum.

A detector that does not beat it may have learnt nothing but the codec.

Durall et al., "Unmasking DeepFakes with simple Features", arXiv 1911.00686: azimuthal average of the power spectrum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.types import Pixels

BINS = 64


def radial_spectrum(image: Pixels, bins: int = BINS) -> NDArray[np.float64]:
    """Log power of the grey centre square, averaged over rings of equal width from zero to the Nyquist frequency.

    Args:
        image: uint8 (H, W, 3).
    Returns: (bins,).
    """
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    grey = image[top : top + side, left : left + side].astype(np.float64) @ (0.299, 0.587, 0.114)
    power = np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey))) ** 2 + 1e-8)
    y, x = np.indices(power.shape) - side // 2
    ring = (np.hypot(x, y) / (side / 2) * bins).astype(int)
    inside = ring < bins
    total = np.bincount(ring[inside], power[inside], bins)
    return total / np.maximum(np.bincount(ring[inside], minlength=bins), 1)


def spectrum_scores(train: Pixels, label: NDArray[np.int64], test: Pixels) -> NDArray[np.float64]:
    """Logistic regression on standardised spectra of `train` (N, S, S, 3), scored on `test` (M, S, S, 3) -> (M,)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(np.stack([radial_spectrum(i) for i in train]), label)
    scores: NDArray[np.float64] = model.decision_function(np.stack([radial_spectrum(i) for i in test]))
    return scores
