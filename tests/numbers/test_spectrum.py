"""The spectrum baseline sees what it should: periods, and nothing of brightness."""

from __future__ import annotations

import numpy as np

from unmask.measure.spectrum import radial_spectrum


def test_rings_show_at_their_frequency() -> None:
    y, x = np.indices((128, 128)) - 64
    grey = 128 + 100 * np.sin(2 * np.pi * np.hypot(x, y) / 4)  # a period of 4 pixels: half of Nyquist, ring 32 of 64
    image = np.repeat(grey[..., None], 3, 2).astype(np.uint8)
    spectrum = radial_spectrum(image)
    assert spectrum.shape == (64,)
    assert abs(np.argmax(spectrum[1:]) + 1 - 32) <= 1


def test_brightness_is_only_ring_zero() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 120, (64, 64, 3)).astype(np.uint8)
    a, b = radial_spectrum(image), radial_spectrum(image + np.uint8(40))
    np.testing.assert_allclose(a[1:], b[1:], atol=1e-6)
    assert b[0] > a[0]
