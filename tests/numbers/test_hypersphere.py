"""The losses and arcs on the unit sphere, held against arithmetic by hand and plain formulas."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

from unmask.nn.hypersphere import alignment, mixed_by_class, mixed_by_pair, slerp, uniformity

HALF = 1 / math.sqrt(2)
POINTS = torch.tensor([[1, 0], [1, 0], [HALF, HALF], [0, 1], [0, 1]])
LABELS = torch.tensor([0, 0, 0, 1, 1])


def sphere(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_alignment_of_five_points_by_hand() -> None:
    # Squared distances of the pairs of one class: 0, 2 - sqrt 2, 2 - sqrt 2 (class 0) and 0 (class 1); their mean:
    assert alignment(POINTS, LABELS).item() == pytest.approx((2 - math.sqrt(2)) / 2, abs=1e-6)
    assert alignment(POINTS, LABELS).item() == pytest.approx(0.2929, abs=1e-4)


def test_uniformity_of_five_points_by_hand() -> None:
    # Ten pairs: two at 0, four at 2 - sqrt 2, four at 2.
    mean = (2 + 4 * math.exp(-2 * (2 - math.sqrt(2))) + 4 * math.exp(-4)) / 10
    assert uniformity(POINTS).item() == pytest.approx(math.log(mean), abs=1e-6)
    assert uniformity(POINTS).item() == pytest.approx(-1.1048, abs=1e-4)


def test_both_losses_are_the_mean_over_pairs_of_random_vectors() -> None:
    z, label = sphere(17, 8), torch.arange(17) % 3
    pairs = list(combinations(range(17), 2))
    same = [float((z[i] - z[j]).square().sum()) for i, j in pairs if label[i] == label[j]]
    spread = [math.exp(-2 * float((z[i] - z[j]).square().sum())) for i, j in pairs]
    assert alignment(z, label).item() == pytest.approx(sum(same) / len(same), abs=1e-6)
    assert uniformity(z).item() == pytest.approx(math.log(sum(spread) / len(spread)), abs=1e-6)


def test_equal_points_give_finite_gradients() -> None:
    z = torch.ones(4, 3).div(math.sqrt(3)).requires_grad_()
    (alignment(z, torch.tensor([0, 0, 1, 1])) + uniformity(z)).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_where_there_are_no_pairs_the_losses_are_zero() -> None:
    assert alignment(sphere(3, 4), torch.tensor([0, 1, 2])).item() == 0
    assert alignment(sphere(1, 4), torch.tensor([0])).item() == 0
    assert uniformity(sphere(1, 4)).item() == 0


def test_an_arc_begins_at_a_ends_at_b_and_turns_evenly() -> None:
    a, b = sphere(50, 16, 1) * 3, sphere(50, 16, 2) * 0.2
    start, end = F.normalize(a, dim=1), F.normalize(b, dim=1)
    torch.testing.assert_close(slerp(a, b, torch.zeros(50)), start)
    torch.testing.assert_close(slerp(a, b, torch.ones(50)), end)
    t = torch.linspace(0.05, 0.95, 50)
    middle = slerp(a, b, t)
    torch.testing.assert_close(middle.norm(dim=1), torch.ones(50))
    torch.testing.assert_close((start * middle).sum(1).acos(), t * (start * end).sum(1).acos(), atol=1e-4, rtol=0)


def test_half_of_a_right_angle_is_the_diagonal() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(slerp(a, b, torch.tensor([0.5])), torch.tensor([[HALF, HALF]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_equal_ends_give_no_nan_in_low_precision(dtype: torch.dtype) -> None:
    a = sphere(8, 16).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        middle = slerp(a, a, torch.full((8,), 0.3))
    middle.sum().backward()
    assert middle.dtype == torch.float32
    torch.testing.assert_close(middle, F.normalize(a.detach().float(), dim=1))
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_classes_never_mix_and_the_input_stays_as_it_was() -> None:
    label = torch.tensor([0, 1, 0, 1, 1, 2, 0])
    features = F.one_hot(label, 3).repeat_interleave(4, 1).float() * (torch.rand(7, 12) + 0.1)  # a subspace a class
    before = features.clone()
    mixed = mixed_by_class(features, label, torch.Generator().manual_seed(0))
    assert torch.equal(features, before)
    torch.testing.assert_close(mixed.norm(dim=1), torch.ones(7))
    assert not mixed[F.one_hot(label, 3).repeat_interleave(4, 1) == 0].any()
    torch.testing.assert_close(mixed[5], F.normalize(features[5], dim=0))  # the only one of its class
    assert not torch.allclose(mixed, F.normalize(features, dim=1), atol=1e-3)


def test_pairs_stay_pairs_when_they_are_mixed() -> None:
    # A forgery is its real face turned by 90 degrees in the plane: if that holds after mixing, the pair moved as one.
    angle = torch.tensor([0.1, 0.5, 0.9, 1.3])
    real = torch.stack([angle.cos(), angle.sin()], 1)
    fake = torch.stack([-angle.sin(), angle.cos()], 1)
    label, pair = torch.tensor([0] * 4 + [1] * 4), torch.tensor([4, 7, 9, 2] * 2)
    mixed = mixed_by_pair(torch.cat([real, fake]), label, pair, torch.Generator().manual_seed(3))
    torch.testing.assert_close(mixed[4:], torch.stack([-mixed[:4, 1], mixed[:4, 0]], 1))
    assert not torch.allclose(mixed[:4], real, atol=1e-3)


def test_what_is_of_no_pair_or_finds_no_partner_stays() -> None:
    features, label = sphere(4, 6), torch.tensor([0, 1, 0, 1])
    for seed in range(5):
        mixed = mixed_by_pair(features, label, torch.tensor([0, 1, -1, -1]), torch.Generator().manual_seed(seed))
        torch.testing.assert_close(mixed, features)  # pair 0 has no forgery, pair 1 no real face, two have no pair
