"""PixPro and PixContrast: which places are pairs, propagation and losses, by hand and by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unmask.base.objective import Views
from unmask.nn.correspondence import bin_centres, bin_distance, overlapping
from unmask.objectives.pixcontrast import pixel_contrast
from unmask.objectives.pixpro import consistency, pixpro_loss, propagate
from unmask.registry import FAMILIES
from unmask.types import UnmaskError

WHOLE = torch.tensor([[0.0, 0, 1, 1]])


def boxes(count: int, seed: int = 0) -> torch.Tensor:
    """Random crops, half of them mirrored."""
    draw = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed))
    side = 0.3 + 0.7 * draw[:, :2]
    low = draw[:, 2:] * (1 - side)
    box = torch.cat([low, low + side], 1)
    box[::2] = box[::2][:, [2, 1, 0, 3]]
    return box


def brute_force(one: list[float], two: list[float], height: int, width: int) -> list[list[float]]:
    """The distance of every pair of bins, one at a time."""

    def centres(box: list[float]) -> list[tuple[float, float]]:
        x1, y1, x2, y2 = box
        across, down = (x2 - x1) / width, (y2 - y1) / height
        return [(x1 + (j + 0.5) * across, y1 + (i + 0.5) * down) for i in range(height) for j in range(width)]

    def diagonal(box: list[float]) -> float:
        return math.hypot((box[2] - box[0]) / width, (box[3] - box[1]) / height)

    unit = max(diagonal(one), diagonal(two))
    return [[math.dist(a, b) / unit for b in centres(two)] for a in centres(one)]


def test_pairs_are_those_of_a_brute_force_search() -> None:
    one, two = boxes(40), boxes(40, 1)[torch.randperm(40, generator=torch.Generator().manual_seed(2))]
    found = bin_distance(one.double(), two.double(), 5, 7)
    expected = torch.tensor([brute_force(a, b, 5, 7) for a, b in zip(one.tolist(), two.tolist(), strict=True)])
    torch.testing.assert_close(found, expected.double(), atol=1e-6, rtol=0)
    assert 0 < (found < 0.7).sum() < found.numel()


def test_the_threshold_lies_just_under_the_neighbours() -> None:
    # Equal crops: a neighbour is a bin's side away, 1 / sqrt 2 = 0.7071 of the diagonal. At 0.7 a place pairs with
    # itself alone (49 pairs of a 7 x 7 map); at 0.71 with its neighbours too: 49 + 4 x 6 x 7 = 217.
    distance = bin_distance(WHOLE, WHOLE, 7, 7)[0]
    assert torch.equal(distance < 0.7, torch.eye(49, dtype=torch.bool))
    assert int((distance < 0.71).sum()) == 217


def test_a_mirrored_crop_pairs_with_the_mirrored_columns() -> None:
    mirrored = WHOLE[:, [2, 1, 0, 3]]
    pair = (bin_distance(WHOLE, mirrored, 7, 7)[0] < 0.7).nonzero()
    expected = [[7 * i + j, 7 * i + 6 - j] for i in range(7) for j in range(7)]
    assert pair.tolist() == expected


def test_crops_that_do_not_meet_have_no_pair_and_views_may_be_swapped() -> None:
    left, right = torch.tensor([[0.0, 0, 0.4, 0.4]]), torch.tensor([[0.6, 0.6, 1, 1]])
    assert not (bin_distance(left, right, 4, 4) < 0.7).any()
    assert not overlapping(left, right, 4, 4).any()
    one, two = boxes(9, 3), boxes(9, 4)
    torch.testing.assert_close(bin_distance(one, two, 4, 4), bin_distance(two, one, 4, 4).transpose(1, 2))


def test_the_overlap_by_hand() -> None:
    # Centres of a 4 x 4 map of the whole image lie at 1/8, 3/8, 5/8, 7/8; a view from 0.5 to 1 holds the last two.
    view = torch.tensor([[1.0, 0.5, 0.5, 1.0]])
    assert overlapping(WHOLE, view, 4, 4)[0].nonzero()[:, 0].tolist() == [10, 11, 14, 15]
    assert bin_centres(WHOLE, 4, 4)[0, 6].tolist() == [0.625, 0.375]


def test_propagation_by_hand() -> None:
    # Two places at 60 degrees: cos = 1/2, squared 1/4. y_1 = g_1 + g_2 / 4 with g = (1, 0), (0, 2): (1, 1/2).
    z = torch.tensor([[[3.0, 1.0]], [[0.0, math.sqrt(3)]]]).transpose(0, 1).reshape(1, 2, 1, 2)
    value = torch.tensor([[1.0, 0], [0, 2]]).reshape(1, 2, 1, 2)
    assert propagate(z, value)[0, :, 0, 0].tolist() == pytest.approx([1, 0.5])
    assert propagate(z, value)[0, :, 0, 1].tolist() == pytest.approx([0.25, 2])


def test_limits_of_propagation() -> None:
    torch.manual_seed(0)
    z, value = (torch.randn(2, n, 3, 3, dtype=torch.float64) for n in (8, 5))
    torch.testing.assert_close(propagate(z, value, 1e4), value)  # each place its own value alone
    everywhere = propagate(z, value, 0)  # every place the sum of all
    torch.testing.assert_close(everywhere, value.sum((2, 3), keepdim=True).expand_as(value))
    z.requires_grad_()
    propagate(z, value, 0.5).sum().backward()
    assert torch.isfinite(z.grad).all()  # type: ignore[arg-type]


def test_the_loss_by_hand() -> None:
    # Places (1, 0), (0, 1) against (1, 0), (1, 1) / sqrt 2, each with its own: cosines 1 and 0.7071.
    # -2 x 1.7071 / 2 = -1.7071; the other image has no pair and counts as 0: the mean is -0.85355.
    y = torch.tensor([[1.0, 0], [0, 3]]).reshape(1, 2, 1, 2).repeat(2, 1, 1, 1)
    target = torch.tensor([[1.0, 1], [0, 1]]).reshape(1, 2, 1, 2).repeat(2, 1, 1, 1)
    positive = torch.eye(2, dtype=torch.bool)[None] & torch.tensor([True, False])[:, None, None]
    assert consistency(y, target, positive).item() == pytest.approx(-(1 + 1 / math.sqrt(2)) / 2, abs=1e-5)


def test_equal_maps_reach_the_least_loss_and_targets_get_no_gradient() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 6, 4, 4, requires_grad=True)
    target = torch.randn(3, 6, 4, 4, requires_grad=True)
    positive = bin_distance(WHOLE, WHOLE, 4, 4).expand(3, -1, -1) < 0.7
    assert pixpro_loss(maps, maps, maps, maps, positive).item() == pytest.approx(-4, abs=1e-4)
    pixpro_loss(maps, maps, target, target, positive).backward()
    assert target.grad is None
    assert maps.grad is not None


def test_loss_and_gradient_against_loops_in_float64() -> None:
    torch.manual_seed(1)
    y = torch.randn(3, 6, 2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 6, 2, 3, dtype=torch.float64)
    positive = bin_distance(boxes(3), boxes(3, 5), 2, 3) < 0.7
    terms = []
    for one, two, pairs in zip(y.flatten(2), target.flatten(2), positive, strict=True):
        cosine = [F.cosine_similarity(one[:, i], two[:, j], 0) for i, j in pairs.nonzero().tolist()]
        terms.append(-2 * sum(cosine) / (len(cosine) + 1e-6) if cosine else one.sum() * 0)
    plain = sum(terms) / 3
    (expected,) = torch.autograd.grad(plain, y)
    loss = consistency(y, target, positive)
    loss.backward()
    assert loss.item() == pytest.approx(plain.item(), abs=1e-6)
    torch.testing.assert_close(y.grad, expected, atol=1e-6, rtol=0)


def test_contrast_by_hand() -> None:
    # At temperature 1, the first place has cosines 1 and 0 with the other view and its positive is the first:
    # log(e + 1) - 1. The second has no positive: it counts for nothing. The other image has no pair: 0.
    anchor = torch.tensor([[2.0, 0], [0, 1]]).reshape(1, 2, 1, 2).repeat(2, 1, 1, 1)
    positive = torch.zeros(2, 2, 2, dtype=torch.bool)
    positive[0, 0, 0] = True
    assert pixel_contrast(anchor, anchor, positive, 1.0).item() == pytest.approx((math.log(math.e + 1) - 1) / 2)


def test_contrast_and_gradient_against_loops_in_float64() -> None:
    torch.manual_seed(1)
    x = torch.randn(4, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    other = torch.randn(4, 6, 3, 3, dtype=torch.float64)
    positive = bin_distance(boxes(4, 7), boxes(4, 8), 3, 3) < 0.7
    terms = []
    for one, two, pairs in zip(x.flatten(2), other.flatten(2), positive, strict=True):
        each = []
        for i in pairs.any(1).nonzero()[:, 0].tolist():
            e = torch.stack([F.cosine_similarity(one[:, i], two[:, j], 0) / 0.3 for j in range(9)]).exp()
            each.append(-(e[pairs[i]].sum() / e.sum()).log())
        terms.append(torch.stack(each).mean() if each else one.sum() * 0)
    plain = torch.stack(terms).mean()
    (expected,) = torch.autograd.grad(plain, x)
    loss = pixel_contrast(x, other, positive)
    loss.backward()
    assert loss.item() == pytest.approx(plain.item(), abs=1e-9)
    torch.testing.assert_close(x.grad, expected, atol=1e-9, rtol=0)
    assert any(pairs.any() for pairs in positive)


@pytest.mark.parametrize("name", ["pixpro", "pixcontrast"])
def test_places_are_compared_by_the_boxes_of_the_views(name: str, one_thread: None) -> None:
    family, image = FAMILIES["objective"], torch.rand(2, 3, 64, 64)
    torch.manual_seed(0)
    plain = {"transform": 0} if name == "pixpro" else {}  # the values are the projections: equal maps agree
    objective = family.create(name, family.card(name).small | plain).eval()
    index, box = torch.arange(2), WHOLE.expand(2, -1)
    views = {
        "same": Views((image, image), (box, box), index, index),
        "said to be mirrored": Views((image, image), (box, box[:, [2, 1, 0, 3]]), index, index),
        "apart": Views((image, image), (box / 4, 1 - box / 4), index, index),
    }
    loss = {k: objective.loss(v)["pixel"].item() for k, v in views.items()}
    assert loss["same"] < loss["said to be mirrored"]
    assert loss["apart"] == 0
    with pytest.raises(UnmaskError, match="two views of one size"):
        objective.loss(Views((image, image[..., :32, :32]), (box, box), index, index))


def test_the_instance_branch_compares_whole_images(one_thread: None) -> None:
    family, image = FAMILIES["objective"], torch.rand(4, 3, 64, 64)
    objective = family.create("pixpro", family.card("pixpro").small | {"instance": 1.0})
    box = WHOLE.expand(4, -1)
    terms = objective.loss(Views((image, image), (box, box), torch.arange(4), torch.arange(4)))
    assert set(terms) == {"pixel", "instance"}
    assert -4 <= terms["instance"].item() <= 4
