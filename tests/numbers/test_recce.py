"""RECCE's two terms by hand, and which faces they are about."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import recce


def test_reconstruction_by_hand() -> None:
    # Real faces 0 and 2 are missed by 0.5 and 0.1 everywhere, the forged one by 9, which does not count: mean 0.3.
    image = torch.zeros(3, 3, 2, 2)
    drawn = image + torch.tensor([0.5, 9.0, -0.1]).view(3, 1, 1, 1)
    assert recce.reconstruction(drawn, image, torch.tensor([0, 1, 0])).item() == pytest.approx(0.3)
    assert recce.reconstruction(drawn, image, torch.tensor([1, 1, 1])).item() == 0


def test_spread_by_hand() -> None:
    # Real (1,0), (0,1); forged (-1,0), (3,0). d = (1 - cos) / 2: of the two real 1/2.
    # Real with forged: (1,0)(-1,0) 1, (1,0)(3,0) 0, (0,1)(-1,0) 1/2, (0,1)(3,0) 1/2; their mean is 1/2. 1/2 - 1/2 = 0.
    features, label = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [3, 0]]), torch.tensor([0, 0, 1, 1])
    assert recce.spread(features, label).item() == pytest.approx(0, abs=1e-6)
    # Without the last one: 1/2 - (1 + 1/2) / 2 = -1/4. One real face alone: no pair of two; 0 - 1.
    assert recce.spread(features[:3], label[:3]).item() == pytest.approx(-0.25)
    assert recce.spread(features[[0, 2]], label[[0, 2]]).item() == pytest.approx(-1)
    assert recce.spread(features, torch.ones(4)).item() == 0


def test_the_loss_is_the_sum_of_the_weighted_terms_over_three_maps() -> None:
    torch.manual_seed(0)
    detector = recce.RECCE("tiny-xception", 32, drawing=0.5, metric=0.25).eval()
    image, label = torch.rand(4, 3, 32, 32), torch.tensor([0, 0, 1, 1])
    terms = detector.loss(Batch(image, label))
    out, drawn, maps = detector._seen(image)
    assert drawn.shape == image.shape
    assert len(maps) == 3
    torch.testing.assert_close(terms["cls"], F.cross_entropy(out.logits, label))
    torch.testing.assert_close(terms["drawing"], 0.5 * (drawn[:2] - (2 * image[:2] - 1)).abs().mean())
    torch.testing.assert_close(terms["metric"], 0.25 * sum(recce.spread(m.mean((2, 3)), label) for m in maps))
    assert set(recce.RECCE("tiny-xception", 32, 0, 0).loss(Batch(image, label))) == {"cls"}


def test_a_place_gathers_the_places_below_it() -> None:
    # A 4 x 4 map of 0..15 under a 2 x 2 one: the upper right place lies over 2, 3, 6 and 7.
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    cells = recce._cells(maps, torch.Size((2, 2)), 2)
    assert cells.shape == (1, 1, 2, 2, 4)
    assert cells[0, 0, 0, 1].tolist() == [2, 3, 6, 7]


@pytest.mark.slow
def test_it_learns_to_draw_real_faces_and_not_forged_ones() -> None:
    torch.manual_seed(0)
    detector = recce.RECCE("tiny-xception", 32, drawing=1.0, dropout=0.0)
    real, fake = torch.full((4, 3, 32, 32), 0.9), torch.full((4, 3, 32, 32), 0.1)
    batch = Batch(torch.cat([real, fake]) + 0.05 * torch.rand(8, 3, 32, 32), torch.tensor([0] * 4 + [1] * 4))
    optimiser = torch.optim.AdamW(detector.parameters(), 3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        torch.stack(list(detector.loss(batch).values())).sum().backward()
        optimiser.step()
    _, drawn, _ = detector._seen(batch.image)
    error = (drawn - (2 * batch.image - 1)).abs().mean((1, 2, 3))
    assert error[:4].max() < error[4:].min() / 2
