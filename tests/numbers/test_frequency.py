"""Transforms as matrix products against numpy and scipy, and what two methods make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from unmask.detectors import f3net, spsl
from unmask.nn.crossing import Crossing
from unmask.nn.frequency import bands, dct_matrix, dft, dft_matrices
from unmask.types import UnmaskError


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_transforms_are_those_of_numpy_and_scipy(size: int) -> None:
    x = np.random.default_rng(0).standard_normal((size, size))
    d = dct_matrix(size)
    np.testing.assert_allclose(d @ torch.from_numpy(x).float() @ d.T, dctn(x, norm="ortho"), atol=1e-5)
    torch.testing.assert_close(d @ d.T, torch.eye(size), atol=1e-5, rtol=0)
    real, imaginary = dft(torch.from_numpy(x).float(), *dft_matrices(size))
    np.testing.assert_allclose(real, np.fft.fft2(x).real, atol=1e-4)
    np.testing.assert_allclose(imaginary, np.fft.fft2(x).imag, atol=1e-4)


def test_bands_by_hand() -> None:
    # i + j of a 3 x 3 table: 0 1 2 / 1 2 3 / 2 3 4. Below 2: three of nine; 2 or 3: five; from 4 on: one.
    low, middle, high = bands(3, (0, 2, 4, 6))
    assert low.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert middle.tolist() == [[0, 0, 1], [0, 1, 1], [1, 1, 0]]
    assert high.sum() == high[2, 2] == 1


def test_unbent_bands_add_up_to_the_picture() -> None:
    split = f3net.Bands(32)
    torch.nn.init.zeros_(split.bend)  # s(0) = 0
    image = torch.rand(2, 3, 32, 32)
    low, middle, high, everything = split(image).unflatten(1, (4, 3)).unbind(1)
    torch.testing.assert_close(everything, image, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(low + middle + high, image, atol=1e-5, rtol=1e-5)
    # A sixteenth and another of the spectrum, as the paper has it, but for the grid.
    assert split.base.mean((1, 2)).tolist() == pytest.approx([1 / 16, 1 / 16, 7 / 8, 1], abs=0.02)
    # Bent by w = log 3 everywhere: s = 2 * 3/4 - 1 = 1/2, so that the last one is the image times 1.5.
    torch.nn.init.constant_(split.bend, np.log(3))
    torch.testing.assert_close(split(image)[:, 9:], 1.5 * image, atol=1e-5, rtol=1e-5)
    with pytest.raises(UnmaskError, match="crops of 32 x 32 pixels are wanted, not 31 x 32"):
        split(image[..., 1:, :])


def test_local_statistics_against_scipy() -> None:
    torch.manual_seed(0)
    local = f3net.LocalStatistics()
    grey = torch.rand(1, 1, 20, 20)
    found = local(grey.expand(1, 3, 20, 20))
    assert found.shape == (1, 6, 10, 10)
    # The fourth place of the fourth row looks at rows and columns 3 * 2 - 4 = 2 to 11.
    whole = np.abs(dctn(grey[0, 0, 2:12, 2:12].numpy() * (0.299 + 0.587 + 0.114), norm="ortho"))
    line = np.add.outer(np.arange(10), np.arange(10))
    for band in range(6):
        base = (line >= band * 20 / 6) & (line < (band + 1) * 20 / 6)
        weight = np.abs(base + 2 / (1 + np.exp(-local.bend[band].detach().numpy().reshape(10, 10))) - 1)
        want = np.log10((whole * weight).sum() / base.sum())
        assert found[0, band, 3, 3].item() == pytest.approx(want, abs=1e-4)


def test_a_picture_from_its_phases_is_numpys() -> None:
    image = np.random.default_rng(0).random((2, 3, 24, 24), np.float32)
    spectrum = np.fft.fft2(image.mean(1))
    want = np.fft.ifft2(spectrum / np.abs(spectrum)).real * 24
    found = spsl.from_phases(torch.from_numpy(image), *dft_matrices(24))[:, 0]
    np.testing.assert_allclose(found, want, atol=1e-2)  # frequencies near the rounding of 8 bits fade
    assert found.square().mean().item() == pytest.approx(1, abs=1e-2)


def test_brightness_and_contrast_leave_the_phases_alone_and_a_blank_has_none() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, other = (spsl.from_phases(x, *dft_matrices(32)) for x in (image, 0.5 * image + 0.25))
    torch.testing.assert_close(one, other, atol=0.02, rtol=0)
    blank = spsl.from_phases(torch.full((1, 3, 32, 32), 0.5), *dft_matrices(32))
    assert torch.isfinite(blank).all()
    assert (blank - blank.mean()).abs().max() < 0.1


def test_shallow_means_without_the_middle() -> None:
    with torch.device("meta"):
        steps = [n for n, _ in spsl.SPSL().named_parameters()]
        whole = [n for n, _ in spsl.SPSL(shallow=False).named_parameters()]
    assert not [n for n in steps if any(f"block{k}." in n for k in range(4, 12))]
    assert [n for n in steps if "block12." in n]
    assert set(steps) < set(whole)


def test_streams_that_agree_nowhere_in_particular_exchange_their_means() -> None:
    # Keys of zero: every pair of places agrees equally, so each takes V(mean of the other), times its gain.
    crossing = Crossing(4)
    torch.nn.init.zeros_(crossing.shared.weight)
    a, b = torch.rand(2, 4, 3, 5), torch.rand(2, 4, 3, 5)
    assert all(torch.equal(x, y) for x, y in zip(crossing(a, b), (a, b), strict=True))  # the gains begin at 0
    torch.nn.init.constant_(crossing.gain_one, 2)
    torch.nn.init.constant_(crossing.gain_other, 3)
    to_a, to_b = crossing(a, b)
    mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
    torch.testing.assert_close(to_a, a + 2 * crossing.from_other(mean_b))
    torch.testing.assert_close(to_b, b + 3 * crossing.from_one(mean_a))


def test_closed_bands_share_their_edges() -> None:
    # At size 4, edges 0, 2, 8: i + j = 2 has three coefficients, (0, 2), (1, 1), (2, 0); closed, both bands hold them.
    apart, shared = bands(4, (0, 2, 8)), bands(4, (0, 2, 8), closed=True)
    assert apart.sum((1, 2)).tolist() == [3, 13]
    assert shared.sum((1, 2)).tolist() == [6, 13]
