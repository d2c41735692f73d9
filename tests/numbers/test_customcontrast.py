"""MACL in both forms by hand, and where it is InfoNCE."""

from __future__ import annotations

import math

import pytest
import torch

from unmask.nn.contrastive import cosines, info_nce
from unmask.objectives.customcontrast import macl_soft, macl_weighted, negative_weights

SUBJECT = torch.tensor([0, 0, 1, 2])


def test_weights_have_a_mean_of_one() -> None:
    """Anchor 0 is alike 0.5 to subject 1 and 0.9 to subject 2: (0.5, 0.1) over their mean 0.3 = (5/3, 1/3)."""
    real = torch.tensor([[1, 1, 0.5, 0.9], [1, 1, 0, 0], [0.5, 0, 1, 0.2], [0.9, 0, 0.2, 1]])
    negative = SUBJECT[:, None] != SUBJECT
    found = negative_weights(real, negative)
    torch.testing.assert_close(found[0], torch.tensor([0, 0, 5 / 3, 1 / 3]))
    torch.testing.assert_close(found[1], torch.tensor([0, 0, 1.0, 1.0]))
    torch.testing.assert_close((found.sum(1) / negative.sum(1)), torch.ones(4))


def test_the_weighted_form_by_hand() -> None:
    """Embeddings at 0, 0, 90 and 180 degrees, t = 1. Anchors 0 and 1 have one positive of cosine 1, and negatives of
    cosine 0 and -1. With the weights above: log(1 + (5/3 e^0 + 1/3 e^-1) / e) and log(1 + (e^0 + e^-1) / e)."""
    z = torch.tensor([[1.0, 0], [2, 0], [0, 1], [-1, 0]])
    real = torch.tensor([[1, 1, 0.5, 0.9], [1, 1, 0, 0], [0.5, 0, 1, 0.2], [0.9, 0, 0.2, 1]])
    first = math.log(1 + (5 / 3 + math.exp(-1) / 3) / math.e)
    second = math.log(1 + (1 + math.exp(-1)) / math.e)
    assert macl_weighted(z, SUBJECT, real, 1.0).item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_where_nothing_is_alike_it_is_info_nce() -> None:
    torch.manual_seed(0)
    z, subject = torch.randn(12, 5), torch.arange(12) // 3
    real = (subject[:, None] == subject).float()
    itself = torch.eye(12, dtype=torch.bool)
    plain = info_nce(cosines(z, z) / 0.07, (subject[:, None] == subject) & ~itself, ~itself, positives="own")
    torch.testing.assert_close(macl_weighted(z, subject, real), plain, rtol=1e-6, atol=1e-6)


def test_the_soft_form_by_hand() -> None:
    """Three rows at 0, 0, 90 degrees; both temperatures 1. Real similarities of anchor 0: (1, 0), of 1: (1, 0), of 2:
    (0, 0). Cosines of 0: (1, 0), of 1: (1, 0), of 2: (0, 0)."""
    z = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    real = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    p = math.e / (1 + math.e)
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert macl_soft(z, real, 1.0, 1.0).item() == pytest.approx((2 * entropy + math.log(2)) / 3, abs=1e-6)


def test_a_lookalike_is_pushed_less() -> None:
    """What protects two pictures of one subject under two labels: the negative that is alike hardly repels."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]], requires_grad=True)
    plain, alike = torch.eye(4), torch.eye(4)
    alike[0, 2] = alike[2, 0] = alike[1, 2] = alike[2, 1] = 0.99
    pushes = [torch.autograd.grad(macl_weighted(z, SUBJECT, real, 0.5), z)[0][2].norm() for real in (plain, alike)]
    assert pushes[1] < 0.2 * pushes[0]
