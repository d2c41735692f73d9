"""Traces of up-sampling: the convolution against its sum, and each trace where the spectrum should have it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.portraits import face
from unmask.generators.upsample import halved_and_back, kernel, repeated, transposed
from unmask.types import InputSpec


def test_transposed_convolution_is_its_sum() -> None:
    """Each pixel adds its value times the kernel at twice its place; beyond the edge stands the edge."""
    rng = np.random.default_rng(0)
    image = rng.random((5, 4, 3), np.float32)
    for k in (3, 4):
        weights = rng.random((k, k), np.float32)
        wide = np.pad(image, ((1, 1), (1, 1), (0, 0)), "edge")
        full = np.zeros((2 * 7 + k, 2 * 6 + k, 3))
        for i in range(7):
            for j in range(6):
                full[2 * i : 2 * i + k, 2 * j : 2 * j + k] += weights[..., None] * wide[i, j]
        low = 2 + (k - 2) // 2
        expected = full[low : low + 10, low : low + 8]
        np.testing.assert_allclose(transposed(image, weights), expected, atol=1e-5)


def test_kernels_keep_the_mean() -> None:
    flat = np.full((8, 8, 3), 100, np.float32)
    for seed in range(10):
        weights = kernel(np.random.default_rng(seed))
        assert weights.sum() == pytest.approx(4, abs=1e-5)  # 2 x 2 new pixels for each old one
        large = transposed(flat, weights)
        assert large.mean() == pytest.approx(100, abs=0.01)
        assert large.std() > 0.1  # the checkerboard: neighbours see other parts of the kernel
        assert np.abs(large[::2, ::2] - large[0, 0]).max() < 1e-3  # ... and its period is two


@pytest.mark.parametrize("way", ["nearest", "bilinear", "transposed"])
def test_upsampling_leaves_its_trace_in_the_spectrum(way: str) -> None:
    """Noise has energy at all frequencies; halved and back it has lost the upper ones, but for the trace."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = np.stack([halved_and_back(noise, way, np.random.default_rng(s)) for s in range(4)]).astype(np.float32)
    spectrum = np.square(np.abs(np.fft.fft2(found.mean(-1)))).mean(0)
    upper = spectrum[24:41, 24:41].mean() / spectrum[1:9, 1:9].mean()
    assert upper < 0.15
    if way == "nearest":  # each 2 x 2 pixels are one
        np.testing.assert_array_equal(found[:, ::2, ::2], found[:, 1::2, 1::2])
    if way == "transposed":
        assert spectrum[0, 32] > 20 * np.median(spectrum[24:41, 24:41])


def test_the_auto_encoder_repeats_a_face_with_little_loss() -> None:
    image, _, _ = face("hopper", InputSpec(size=256, margin=1.3))
    out = repeated(image)
    assert np.abs(out.astype(int) - image).mean() < 12
    assert np.corrcoef(out.ravel(), image.ravel())[0, 1] > 0.97
    assert repeated(image[:127, :127]).shape == (127, 127, 3)


def test_its_decoder_leaves_a_grid() -> None:
    """A flat image comes back with a pattern whose period is the decoder's stride, four, and no less."""
    out = repeated(np.full((96, 96, 3), 128, np.uint8)).astype(int)[24:72, 24:72]
    for axis in (0, 1):
        four, two = (np.abs(out - np.roll(out, n, axis))[8:-8, 8:-8] for n in (4, 2))
        assert four.max() == 0
        assert two.max() > 0
