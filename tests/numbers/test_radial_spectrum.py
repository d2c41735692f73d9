"""The detector sees the numbers of the bench's floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmask.detectors.radial_spectrum import RadialSpectrum
from unmask.measure.spectrum import radial_spectrum


@pytest.mark.parametrize("size", [64, 75, 128])
def test_its_spectrum_is_that_of_the_floor(size: int) -> None:
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.integers(-3, 4, (3, size, size, 3)), 1).clip(-100, 100) + 128
    pictures = np.concatenate([rng.integers(0, 256, (2, size, size, 3)), smooth]).astype(np.uint8)
    want = np.stack([radial_spectrum(p) for p in pictures])
    image = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 255
    found = RadialSpectrum(size).spectrum(image)
    np.testing.assert_allclose(found, want, atol=2e-3, rtol=1e-4)
    assert want.std(0).max() > 0.1


def test_a_single_bright_pixel_by_hand() -> None:
    # One white pixel on black, 255 high, has |X| = 255 at every frequency: 2 log 255 in each ring, zero included.
    image = torch.zeros(1, 3, 32, 32)
    image[..., 5, 9] = 1
    assert RadialSpectrum(32, rings=16).spectrum(image)[0].tolist() == pytest.approx([2 * np.log(255)] * 16, abs=1e-4)


def test_a_blank_is_a_number_too() -> None:
    assert torch.isfinite(RadialSpectrum(32).spectrum(torch.zeros(1, 3, 32, 32))).all()
