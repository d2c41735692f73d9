"""Capsules: squashing, routing and votes by hand."""

from __future__ import annotations

import math

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors import capsule


def test_squash_by_hand() -> None:
    # (3, 4) is 5 long: 25 / 26 of the unit vector (0.6, 0.8). 0 stays 0, with a gradient that is a number.
    found = capsule.squash(torch.tensor([[3.0, 4.0], [0, 0]]))
    assert found[0].tolist() == pytest.approx([0.6 * 25 / 26, 0.8 * 25 / 26])
    assert found[1].tolist() == [0, 0]
    zero = torch.zeros(1, 2, requires_grad=True)
    capsule.squash(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()  # type: ignore[arg-type]


def test_routing_by_hand() -> None:
    # One class, two capsules, one number each: 2 and 0. First round: shares 1/2, sum 1, squashed 1/2.
    # Agreement: 2 * 1/2 = 1 and 0. Second round: shares e / (1 + e) and the rest, sum s = 2 e / (1 + e), squashed
    # s^2 / (1 + s^2).
    said = torch.tensor([2.0, 0]).view(1, 1, 2, 1)
    assert capsule.route(said, 1).item() == pytest.approx(0.5)
    s = 2 * math.e / (1 + math.e)
    assert capsule.route(said, 2).item() == pytest.approx(s**2 / (1 + s**2))


def test_votes_by_hand() -> None:
    # Two votes (0, 0) and (1, 0) on a face of class 0: log 2 + log(1 + e^-1) = 0.693147 + 0.313262.
    votes = torch.tensor([[[0.0, 0], [1, 0]]])
    assert capsule.votes_loss(votes, Batch(torch.zeros(1, 3, 8, 8), torch.tensor([0]))).item() == pytest.approx(
        1.006409, abs=1e-6
    )


def test_the_answer_is_the_mean_vote_and_noise_is_of_training_alone() -> None:
    torch.manual_seed(0)
    detector = capsule.Capsule("tiny-xception", 32).eval()
    image = torch.rand(2, 3, 32, 32)
    votes = detector._votes(detector._capsules(image))
    assert votes.shape == (2, 4, 2)
    torch.testing.assert_close(detector(image).logits.softmax(1), votes.softmax(2).mean(1))
    label = torch.tensor([0, 1])
    batch = Batch(image, label)
    torch.testing.assert_close(detector.loss(batch)["cls"], capsule.votes_loss(votes, batch))
    assert torch.equal(detector(image).logits, detector(image).logits)
    maps = detector._capsules(image)
    detector.train()
    assert not torch.equal(detector._votes(maps), detector._votes(maps))
