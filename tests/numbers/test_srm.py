"""SRM's filters and the additive margin, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors import srm
from unmask.nn.angular import am_softmax


def test_filters_by_hand() -> None:
    # One bright pixel, 1 in the middle of 9 x 9: each filter answers with its own image (all three are symmetric).
    image = torch.zeros(1, 3, 9, 9)
    image[0, 1, 4, 4] = 1.0
    square, wide, row = srm.residual(image)[0]
    assert square[4].tolist() == pytest.approx([0, 0, 0, 0.5, -1, 0.5, 0, 0, 0])  # (2, -4, 2) / 4
    assert square[3, 3].item() == pytest.approx(-0.25)
    assert wide[2, 2:7].tolist() == pytest.approx([-1 / 12, 2 / 12, -2 / 12, 2 / 12, -1 / 12])
    assert wide[4, 4].item() == pytest.approx(-1)
    assert row[4].tolist() == pytest.approx([0, 0, 0, 0.5, -1, 0.5, 0, 0, 0])  # (1, -2, 1) / 2
    assert row[:4].abs().sum() == 0


def test_even_ground_and_slopes_leave_nothing_and_much_is_cut_at_three() -> None:
    slope = torch.arange(12.0).view(1, 1, 1, 12) + torch.arange(12.0).view(1, 1, 12, 1)
    assert srm.residual(slope.expand(1, 3, 12, 12))[..., 2:-2, 2:-2].abs().max() < 1e-5
    image = torch.zeros(1, 3, 9, 9)
    image[..., 4, 4] = 10  # three channels of 10: the middle of the first filter gives -30
    assert srm.residual(image).aminmax() == (-3, 3)


def test_each_channel_by_itself_sums_up_to_all() -> None:
    image = torch.rand(2, 3, 8, 8)
    each = srm.residual(image, each=True).unflatten(1, (3, 3))  # (B, channel, filter, H, W)
    torch.testing.assert_close(each.sum(1), srm.residual(image))


def test_am_softmax_by_hand() -> None:
    # cosines (0.6, 0.2), label 0, m = 0.1, s = 10: 10 (0.6 - 0.1, 0.2) = (5, 2); log(1 + e^-3) = 0.048587.
    # label 1: (6, 1): log(1 + e^5) = 5.006715. Their mean is 2.527651.
    cosine, label = torch.tensor([[0.6, 0.2], [0.6, 0.2]]), torch.tensor([0, 1])
    assert am_softmax(cosine, label, 0.1, 10.0).item() == pytest.approx(2.527651, abs=1e-5)
    want = (math.log(1 + math.exp(-4)) + math.log(1 + math.exp(4))) / 2  # without a margin: plain cross-entropy
    assert am_softmax(cosine, label, 0.0, 10.0).item() == pytest.approx(want)


def test_logits_are_cosines_and_the_margin_makes_the_loss_larger() -> None:
    torch.manual_seed(0)
    detector = srm.SRM("tiny-xception", 32, margin=0.2, scale=8.0).eval()
    image, label = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    out = detector(image)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(out.logits, 8 * unit(out.features, dim=1) @ unit(detector.head.weight, dim=1).T)
    plain = torch.nn.functional.cross_entropy(out.logits, label)
    assert detector.loss(Batch(image, label))["cls"] > plain
