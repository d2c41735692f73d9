"""Multi-attentional detection: pooling, centres and their loss by hand, and what the blur does."""

from __future__ import annotations

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors import multi_attention as ma


def test_pooling_by_hand() -> None:
    # Two channels, places (1, 0) and (0, 3). Attention (2, 1): sums 2 and 3; over sqrt(13).
    maps = torch.tensor([[[[1.0, 0]], [[0, 3]]]])
    attention = torch.tensor([[[[2.0, 1]]]])
    assert ma.pooled(maps, attention)[0, 0].tolist() == pytest.approx([2 / 13**0.5, 3 / 13**0.5])


def test_near_and_apart_by_hand() -> None:
    # Distances from the centre (0, 0): 0.3 and 0.08. Margins 0.05 and 0.1: 0.25 and 0; their mean 0.125.
    pooled = torch.tensor([[[0.3, 0]], [[0, 0.08]]])
    assert ma.near(pooled, torch.zeros(1, 2), torch.tensor([0.05, 0.1])).item() == pytest.approx(0.125, abs=1e-5)
    # Centres 0, 0.1 and 1 on a line: 0.2 - 0.1 for the first two, nothing for the others; over three maps.
    assert ma.apart(torch.tensor([[0.0], [0.1], [1.0]])).item() == pytest.approx(0.1 / 3, abs=1e-5)


def test_centres_follow_the_batches_in_training_alone() -> None:
    torch.manual_seed(0)
    detector = ma.MultiAttention("tiny-efficientnet", 32, middle=16, rate=0.25, blur=False)
    batch = Batch(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]))
    detector.eval().loss(batch)
    assert detector.centres.abs().sum() == 0
    _, texture = detector.train()._seen(batch.image)
    terms = detector.loss(batch)
    torch.testing.assert_close(detector.centres, 0.25 * texture.mean(0), atol=1e-4, rtol=1e-4)
    want = ma.near(texture, detector.centres, torch.tensor([0.05, 0.1, 0.05, 0.1])) + ma.apart(detector.centres) / 0.25
    torch.testing.assert_close(terms["independence"], want, atol=1e-4, rtol=1e-4)


def test_keeping_centres_apart_teaches_the_maps() -> None:
    """The centres carry the batch's gradient: without that the second half of the loss would move nothing."""
    torch.manual_seed(0)
    detector = ma.MultiAttention("tiny-efficientnet", 32, middle=16, blur=False).eval()
    _, texture = detector._seen(torch.rand(2, 3, 32, 32))
    centres = detector.centres + detector.rate * (texture - detector.centres).mean(0)
    ma.apart(centres).backward()
    gradient = detector.attend[0].weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_the_blur_is_where_a_map_looks() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)
    attention = torch.zeros(2, 1, 4, 4)
    attention[:, :, 0, 0] = 1
    change = (ma._blurred(image, attention) - image).abs().mean(1)
    assert change[:, :8, :8].mean() > 0.1
    assert change[:, 32:, 32:].max() < 1e-6
