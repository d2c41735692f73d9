"""SepCLR's terms by hand, by loops, and what each of them teaches whom."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unmask.base.objective import Views
from unmask.objectives.sepclr import sepclr_terms
from unmask.registry import FAMILIES
from unmask.types import UnmaskError


def codes(count: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    common = F.normalize(torch.randn(2, count, 4, dtype=torch.float64), dim=2)
    return common, torch.randn(2, count, 3, dtype=torch.float64), torch.arange(count) % 2 == 1


def test_two_images_by_hand() -> None:
    # A real face and a fake one, both views alike. Common codes (1, 0) and (0, 1), distance^2 2; salient codes 1 and 1,
    # of which the real one counts as 0: distance^2 1. With t = 1/2, 1 / (2 t) = 1.
    # common: 0 + 2 log e^-2 = -4. salient: 0 + 2 log e^-1 = -2. null: 1. joint: log((1 + e^-3) / 2) = -0.64456.
    common = torch.tensor([[1.0, 0], [0, 1]]).expand(2, -1, -1)
    terms = sepclr_terms(common, torch.ones(2, 2, 1), torch.tensor([False, True]))
    found = {name: term.item() for name, term in terms.items()}
    joint = math.log((1 + math.exp(-3)) / 2)
    assert found == pytest.approx({"common": -4, "salient": -2, "null": 1, "joint": joint}, abs=1e-5)


def test_terms_and_gradients_against_loops() -> None:
    common, salient, target = codes()
    common.requires_grad_()
    salient.requires_grad_()
    tau, n = 0.5, 6

    def apart(x: torch.Tensor, i: int, j: int) -> torch.Tensor:
        return (x[i] - x[j]).square().sum() / (2 * tau)

    def spread(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([(-apart(x, i, j)).exp() for i in range(n) for j in range(i + 1, n)]).mean().log()

    null = torch.zeros(3, dtype=torch.float64)
    taught = [torch.stack([s if t else null for s, t in zip(view, target, strict=True)]) for view in salient]
    aligned = [(salient[0, i] - salient[1, i]).square().sum() / (2 * tau) for i in range(n) if target[i]]
    lengths = [s.square().sum() / (2 * tau) for view in salient for s, t in zip(view, target, strict=True) if not t]
    joint = [
        torch.stack([(-apart(c, i, j) - apart(s, i, j)).exp() for j in range(n)]).mean().log()
        for c, s in zip(common, taught, strict=True)
        for i in range(n)
    ]
    both = (common[0] - common[1]).square().sum(1).mean() / (2 * tau)
    expected = {
        "common": both + spread(common[0]) + spread(common[1]),
        "salient": torch.stack(aligned).mean() + spread(taught[0]) + spread(taught[1]),
        "null": torch.stack(lengths).mean(),
        "joint": torch.stack(joint).mean(),
    }
    terms = sepclr_terms(common, salient, target, tau)
    for name, plain in expected.items():
        assert terms[name].item() == pytest.approx(plain.item(), abs=1e-9)
        wanted = torch.autograd.grad(plain, [common, salient], retain_graph=True, materialize_grads=True)
        found = torch.autograd.grad(terms[name], [common, salient], retain_graph=True, materialize_grads=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def test_backgrounds_learn_from_the_null_term_alone() -> None:
    common, salient, target = codes()
    salient.requires_grad_()
    terms = sepclr_terms(common, salient, target)
    for name in ("salient", "joint", "null"):
        (grad,) = torch.autograd.grad(terms[name], salient, retain_graph=True)
        assert bool(grad[:, ~target].any()) == (name == "null")
        assert bool(grad[:, target].any()) == (name != "null")


def test_the_joint_term_falls_where_codes_say_different_things() -> None:
    same = torch.zeros(2, 64, 4)
    assert sepclr_terms(same, same, torch.ones(64, dtype=torch.bool))["joint"].item() == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    common, other = (F.normalize(torch.randn(64, 4), dim=1).expand(2, -1, -1) for _ in range(2))
    target = torch.ones(64, dtype=torch.bool)
    assert sepclr_terms(common, other, target)["joint"] < sepclr_terms(common, common, target)["joint"] - 0.1


def test_a_batch_of_one_kind_is_finite() -> None:
    common, salient, target = codes()
    for kind in (target & False, target | True):
        assert all(torch.isfinite(term) for term in sepclr_terms(common, salient, kind).values())


def test_it_asks_for_two_views_and_labels(one_thread: None) -> None:
    family, image = FAMILIES["objective"], torch.rand(4, 3, 32, 32)
    objective = family.create("sepclr", family.card("sepclr").small)
    label, box = torch.tensor([0, 1, 1, 0]), torch.zeros(4, 4)
    assert set(objective.loss(Views((image, image), (box, box), label, label))) == {
        "common",
        "salient",
        "null",
        "joint",
    }
    for wrong in (Views((image,), (box,), label, label), Views((image, image), (box, box), label, label - 1)):
        with pytest.raises(UnmaskError, match="two `views`"):
            objective.loss(wrong)
