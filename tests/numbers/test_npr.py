"""The residual of neighbouring pixels, by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from unmask.detectors.npr import residual
from unmask.types import UnmaskError


def test_residual_by_hand() -> None:
    #  1  4 | 2  2        0  3 | 0  0
    #  9  1 | 5  0   ->   8  0 | 3 -2
    image = torch.tensor([[1.0, 4, 2, 2], [9, 1, 5, 0]]).view(1, 1, 2, 4)
    assert residual(image)[0, 0].tolist() == [[0, 3, 0, 0], [8, 0, 3, -2]]


def test_it_sees_neither_brightness_nor_nearest_up_sampling() -> None:
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(residual(image + 0.25), residual(image), atol=1e-6, rtol=0)
    assert residual(F.interpolate(image, scale_factor=2)).abs().max() == 0
    assert residual(image)[..., ::2, ::2].abs().max() == 0


def test_it_is_linear_with_the_right_adjoint() -> None:
    x, y = torch.rand(1, 3, 6, 8, dtype=torch.float64, requires_grad=True), torch.rand(1, 3, 6, 8, dtype=torch.float64)
    (back,) = torch.autograd.grad((residual(x) * y).sum(), x)
    cells = y.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5))
    want = y.clone()
    want[..., ::2, ::2] -= cells  # the first pixel of a cell is taken off all four
    torch.testing.assert_close(back, want)


def test_odd_pictures_lose_their_last_row_or_column() -> None:
    image = torch.rand(1, 3, 7, 9)
    assert torch.equal(residual(image), residual(image[..., :6, :8]))
    with pytest.raises(UnmaskError, match="1 x 9 pixels has no neighbours"):
        residual(torch.rand(1, 3, 9, 1))
