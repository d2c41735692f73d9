"""Selfie's loss by hand and against cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unmask.nn.patches import patches
from unmask.objectives.selfie import pointing_logits, selfie_loss, smaller
from unmask.registry import FAMILIES


def test_the_loss_by_hand() -> None:
    # Two gaps, v = (1, 0), (0, 2), candidates h = (1, 0), (0, 1): logits 1 0 / 0 2, so log(1 + 1/e) and log(1 + 1/e^2).
    query, candidate = torch.tensor([[[1.0, 0], [0, 2]]]), torch.tensor([[[1.0, 0], [0, 1]]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))) / 2
    assert selfie_loss(query, candidate).item() == pytest.approx(expected)


def test_nothing_known_costs_the_logarithm_of_the_gaps() -> None:
    assert selfie_loss(torch.zeros(3, 4, 8), torch.randn(3, 4, 8)).item() == pytest.approx(math.log(4))


def test_loss_and_gradient_are_those_of_cross_entropy_and_images_never_meet() -> None:
    torch.manual_seed(0)
    query, candidate = (torch.randn(5, 4, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    plain = torch.stack(
        [F.cross_entropy(q @ c.T, torch.arange(4)) for q, c in zip(query, candidate, strict=True)]
    ).mean()
    expected = torch.autograd.grad(plain, [query, candidate])
    loss = selfie_loss(query, candidate)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-12)
    for found, right in zip(torch.autograd.grad(loss, [query, candidate]), expected, strict=True):
        torch.testing.assert_close(found, right, atol=1e-12, rtol=0)


def test_shuffled_candidates_shuffle_the_logits() -> None:
    torch.manual_seed(0)
    query, candidate, order = torch.randn(2, 4, 6), torch.randn(2, 4, 6), torch.tensor([2, 0, 3, 1])
    assert torch.equal(pointing_logits(query, candidate[:, order]), pointing_logits(query, candidate)[:, :, order])


def test_another_order_of_the_context_changes_nothing_and_jitter_cuts_inside(one_thread: None) -> None:
    family = FAMILIES["objective"]
    torch.manual_seed(0)
    objective, image = family.create("selfie", family.card("selfie").small).eval(), torch.rand(2, 3, 64, 64)
    tokens = torch.randn(2, 12, objective.pool.query.shape[0])
    torch.testing.assert_close(objective.pool(tokens), objective.pool(tokens[:, torch.randperm(12)]))
    cut = patches(image, 16)
    inside = smaller(cut, 3)
    assert inside.shape == (2, 16, 3, 13, 13)
    places = [torch.equal(cut[0, 0, :, y : y + 13, x : x + 13], inside[0, 0]) for y in range(4) for x in range(4)]
    assert sum(places) == 1
    frozen = {n.split(".")[2] for n, p in objective.named_parameters() if not p.requires_grad}
    assert frozen == {"layer4"}
