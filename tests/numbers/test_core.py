"""CORE's consistency, by hand, and what its views change."""

from __future__ import annotations

from itertools import cycle

import pytest
import torch
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import core


def test_consistency_by_hand() -> None:
    # cosines: (1,0)(2,0) = 1; (1,0)(0,3) = 0; (1,0)(-1,0) = -1: squares of 1 - cos are 0, 1, 4; their mean 5/3.
    one, other = torch.tensor([[1.0, 0]] * 3), torch.tensor([[2.0, 0], [0, 3], [-1, 0]])
    assert core.consistency(one, other).item() == pytest.approx(5 / 3)


def test_the_loss_is_cross_entropy_over_both_views_and_the_weighted_consistency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    detector = core.CORE("tiny-xception", 32, weight=0.5).eval()
    image, label = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    views = cycle([image, image.flip(3)])
    monkeypatch.setattr(core, "_view", lambda image, share: next(views))
    terms = detector.loss(Batch(image, label))
    one, other = detector(image), detector(image.flip(3))
    want = (F.cross_entropy(one.logits, label) + F.cross_entropy(other.logits, label)) / 2
    torch.testing.assert_close(terms["cls"], want)
    torch.testing.assert_close(terms["consistency"], 0.5 * core.consistency(one.features, other.features))
    assert set(core.CORE("tiny-xception", 32, weight=0).loss(Batch(image, label))) == {"cls"}


def test_a_view_is_the_picture_or_its_mirror_but_for_one_small_rectangle() -> None:
    torch.manual_seed(0)
    image = torch.rand(16, 3, 40, 40)
    view = core._view(image, 0.2)
    kept, mirrored = ((view == i).all(1) for i in (image, image.flip(3)))
    share = torch.stack([kept.float().mean((1, 2)), mirrored.float().mean((1, 2))]).amax(0)
    assert (share >= 1 - 0.225**2).all()  # 20 % of each side, rounded up to a pixel
    assert (share < 1).any()
    assert 0 < int((mirrored.float().mean((1, 2)) > 0.9).sum()) < 16


def test_views_that_a_recipe_draws_are_what_is_compared() -> None:
    torch.manual_seed(0)
    detector = core.CORE("tiny-xception", 32).eval()
    views = torch.rand(2, 2, 3, 32, 32)
    terms = detector.loss(Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), views=views))
    one, other = detector(views[:, 0]), detector(views[:, 1])
    torch.testing.assert_close(terms["consistency"], core.consistency(one.features, other.features))
