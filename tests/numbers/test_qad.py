"""QAD's dependence by hand and by its properties; weights are pushed as far as they should be, and come back."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors.qad import QAD, dependence, gram, hsic, levelled, normalised_hsic, pushed
from unmask.tasks.recipe import Recipe
from unmask.train.engine import Engine
from unmask.types import UnmaskError


def batch(n: int = 8, views: int = 2, side: int = 32) -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(n, 3, side, side), torch.arange(n) % 2, views=torch.rand(n, views, 3, side, side))


def small(**options: float) -> QAD:
    torch.manual_seed(0)
    return QAD("tiny-resnet", 32, **options)  # type: ignore[arg-type]


def engine(detector: QAD) -> Engine:
    plain = {"name": "sgd", "lr": 0.1, "momentum": 0}
    recipe = {"name": "one", "method": "qad", "length": "1 steps", "optimizer": plain}
    return Engine(detector, Recipe.model_validate(recipe), Accelerator(cpu=True))


def test_the_kernel_by_hand() -> None:
    # ||(3, 4)||^2 = 25; exp(-25 / (2 * 5^2)) = exp(-1/2).
    found = gram(torch.tensor([[0.0, 0], [3, 4]]), 5)
    torch.testing.assert_close(found, torch.tensor([[1, math.exp(-0.5)], [math.exp(-0.5), 1]]))


def test_features_are_brought_to_one_length() -> None:
    # (3, 4) has length 5: (0.6, 0.8) sqrt(2).
    torch.testing.assert_close(levelled(torch.tensor([[3.0, 4]])), torch.tensor([[0.6, 0.8]]) * 2**0.5)


def test_hsic_by_hand() -> None:
    # Two faces: HKH = (1 - k) / 2 ((1, -1), (-1, 1)), so that tr(KHLH) = (1 - k) / 2 (2 - 2 l) = (1 - k) (1 - l),
    # and (n - 1)^2 = 1. With k = 0.2, l = 0.5: 0.8 * 0.5 = 0.4.
    k, other = torch.tensor([[1.0, 0.2], [0.2, 1]]), torch.tensor([[1.0, 0.5], [0.5, 1]])
    assert hsic(k, other).item() == pytest.approx(0.4)
    assert hsic(k, torch.ones(2, 2)).item() == pytest.approx(0, abs=1e-6)


def test_hsic_is_the_trace_formula_symmetric_and_blind_to_a_common_order() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(9, 4).double(), torch.randn(9, 3).double()
    k, m = gram(one, 2), gram(other, 2)
    h = torch.eye(9).double() - 1 / 9
    torch.testing.assert_close(hsic(k, m), torch.trace(k @ h @ m @ h) / 64)
    torch.testing.assert_close(hsic(k, m), hsic(m, k))
    order = torch.randperm(9)
    torch.testing.assert_close(hsic(gram(one[order], 2), gram(other[order], 2)), hsic(k, m))
    assert hsic(k, m) >= 0
    assert hsic(gram(one[order], 2), m) != hsic(k, m)  # orders of their own are another pairing


def test_it_is_large_for_the_same_and_falls_to_nothing_for_independent_features() -> None:
    torch.manual_seed(0)

    def apart(n: int) -> float:
        return hsic(gram(torch.randn(n, 8), 3), gram(torch.randn(n, 8), 3)).item()

    z = torch.randn(512, 8)
    assert hsic(gram(z, 3), gram(z, 3)).item() > 20 * apart(512)
    assert apart(512) < apart(64) / 4 < apart(16) / 8


def test_normalised_hsic_is_one_for_a_kernel_with_itself_whatever_its_scale() -> None:
    k = torch.tensor([[1.0, 0.2, 0.4], [0.2, 1.0, 0.1], [0.4, 0.1, 1.0]])
    assert normalised_hsic(k, k).item() == pytest.approx(1)
    assert normalised_hsic(k, 5 * k + 3).item() == pytest.approx(1)  # centring takes the 3 away, the root the 5
    # Two points: HKH is the same matrix but for a factor, so any two kernels agree fully.
    assert normalised_hsic(torch.eye(2), torch.tensor([[1.0, 0.6], [0.6, 1.0]])).item() == pytest.approx(1)


def test_the_dependence_reaches_the_network_beside_the_cross_entropy() -> None:
    detector, given = small(), batch()
    terms = detector.loss(given)
    body = list(detector.body.parameters())
    norm = {
        k: torch.stack(
            [g.norm() for g in torch.autograd.grad(v, body, retain_graph=True, allow_unused=True) if g is not None]
        ).norm()
        for k, v in terms.items()
    }
    assert norm["dependence"] > norm["cls"] / 100


def test_the_loss_is_mean_cross_entropy_less_the_weighted_dependence_of_all_pairs() -> None:
    detector = small(dependence=2.0, sigma=3.0).eval()
    given = batch()
    assert given.views is not None
    qualities = [given.image, *given.views.unbind(1)]
    taps = [detector.taps(x) for x in qualities]
    cls = sum(F.cross_entropy(detector(x).logits, given.label) for x in qualities) / 3
    weighted = torch.zeros(())
    for stage, weight in enumerate((0.1, 0.25, 0.5)):
        kernels = [gram(levelled(t[stage]), 3) for t in taps]
        weighted += weight * (
            normalised_hsic(kernels[0], kernels[1])
            + normalised_hsic(kernels[0], kernels[2])
            + normalised_hsic(kernels[1], kernels[2])
        )
    terms = detector.loss(given)
    torch.testing.assert_close(terms["cls"], cls)
    torch.testing.assert_close(terms["dependence"], -2 * weighted)
    assert set(small(dependence=0).loss(given)) == {"cls"}


def test_the_same_pictures_depend_on_each_other_more_than_shuffled_ones() -> None:
    torch.manual_seed(0)
    z = torch.randn(256, 16)
    assert dependence([z, z + 0.1 * torch.randn_like(z)], 3) > 3 * dependence([z, z[torch.randperm(256)]], 3)


def test_a_push_is_as_long_as_it_should_be_along_the_gradient_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(5, 4)), torch.nn.Parameter(torch.randn(2, 3, 3))]
    gradients = [torch.randn_like(w) for w in weights]
    before = [w.detach().clone() for w in weights]
    with pushed(weights, gradients, 0.01):
        for w, g, was in zip(weights, gradients, before, strict=True):
            v = w.detach() - was
            assert (v.norm() / was.norm()).item() == pytest.approx(0.01, rel=1e-5)
            assert F.cosine_similarity(v.flatten(), g.flatten(), 0).item() == pytest.approx(1)
    assert all(torch.equal(w, was) for w, was in zip(weights, before, strict=True))


def test_the_step_is_the_gradient_of_the_pushed_weights_at_the_weights() -> None:
    detector, given = small(dependence=1.0, perturb=0.05), batch()
    other = copy.deepcopy(detector)
    other.train()
    weights = [p for p in other.parameters() if p.ndim > 1]
    gradients = torch.autograd.grad(torch.stack(list(other.loss(given).values())).sum(), weights)
    with pushed(weights, gradients, 0.05):
        torch.stack(list(other.loss(given).values())).sum().backward()
    engine(detector).learn([given], 0, 0.1)
    for now, was in zip(detector.parameters(), other.parameters(), strict=True):
        assert was.grad is not None
        torch.testing.assert_close(now, was - 0.1 * was.grad)


def test_a_batch_counts_once_in_the_statistics_and_the_warm_up_is_plain_training() -> None:
    given = batch()
    plain, warm, hot = small(perturb=0), small(perturb=0.05, warmup=1), small(perturb=0.05)
    for detector in (plain, warm, hot):
        engine(detector).learn([given], 0, 0.1)
    for (name, one), other, third in zip(
        plain.state_dict().items(), warm.state_dict().values(), hot.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
        if "running" in name:
            torch.testing.assert_close(one, third)
    engine(warm).learn([given], 1, 0.1)
    engine(plain).learn([given], 1, 0.1)
    assert not torch.equal(plain.head.weight, warm.head.weight)
    assert int(warm.seen) == 2


@pytest.mark.slow
def test_pushing_raises_the_loss() -> None:
    detector, up = small(perturb=0.002).train(), 0
    weights = [p for p in detector.parameters() if p.ndim > 1]
    taught = engine(detector)
    for n in range(20):
        torch.manual_seed(n)
        given = Batch(torch.rand(8, 3, 32, 32), torch.arange(8) % 2, views=torch.rand(8, 2, 3, 32, 32))
        total = torch.stack(list(detector.loss(given).values())).sum()
        with pushed(weights, torch.autograd.grad(total, weights), 0.002), torch.no_grad():
            up += int(torch.stack(list(detector.loss(given).values())).sum() >= total)
        taught.learn([given], n, 0.01)
    assert up >= 19


def test_a_batch_without_qualities_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnmaskError, match="views: "):
        small().loss(Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1])))
    with pytest.raises(UnmaskError, match="stages has 2 weights: give 6"):
        QAD("tiny-resnet", 32, stages=(1, 1))
