"""Evidence, its divergence and the hierarchy of DFLIP by hand; a version lies in its family."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors.dflip import DFLIP, evidential_loss, no_evidence, uncertainty, within


class Profiler(DFLIP):
    classes = ("real", "sd/a", "sd/b", "xl/c", "xl/d")


def test_evidence_by_hand() -> None:
    # alpha (3, 1), y = (1, 0), S = 4: (1 - 3/4)^2 + (0 - 1/4)^2 + 2 x 3 x 1 / (16 x 5) = 1/8 + 6/80.
    alpha = torch.tensor([[3.0, 1.0]])
    assert evidential_loss(alpha, torch.tensor([0]), torch.ones(1, 2)).item() == pytest.approx(1 / 8 + 6 / 80)
    # With the second class impossible: S = 3, y = 1: no error and no spread.
    assert evidential_loss(alpha, torch.tensor([0]), torch.tensor([[1.0, 0.0]])).item() == pytest.approx(0)
    assert uncertainty(alpha).item() == pytest.approx(2 / 4)


def test_divergence_from_no_evidence() -> None:
    # Dirichlet(2, 1) has density 2x on (0, 1): KL from the uniform is the integral of 2x log 2x = log 2 - 1/2.
    assert no_evidence(torch.tensor([[2.0, 1.0]])).item() == pytest.approx(np.log(2) - 0.5, abs=1e-6)
    assert no_evidence(torch.ones(3, 4)).item() == pytest.approx(0, abs=1e-6)


def test_versions_share_their_family() -> None:
    # Families (0, 0, 1): alphas (3, 1, 5) -> (3/4, 1/4, 1).
    found = within(torch.tensor([[3.0, 1.0, 5.0]]), torch.tensor([0, 0, 1]), 2)
    assert found.tolist() == [[0.75, 0.25, 1.0]]


def test_logits_are_probabilities_of_the_profile() -> None:
    torch.manual_seed(0)
    detector = Profiler("tiny-resnet", 32).eval()
    image = torch.rand(6, 3, 32, 32)
    with torch.inference_mode():
        p, found = detector(image).logits.exp(), detector.profile(image)
    torch.testing.assert_close(p.sum(1), torch.ones(6))
    torch.testing.assert_close(1 - p[:, 0], found.fake)
    assert (detector.family_of[found.version] == found.family).all()
    assert ((found.uncertainty > 0) & (found.uncertainty <= 1)).all()


def test_every_level_learns() -> None:
    torch.manual_seed(0)
    detector = Profiler("tiny-resnet", 32)
    batch = Batch(torch.rand(5, 3, 32, 32), torch.arange(5))
    terms = detector.loss(batch)
    assert set(terms) == {"binary", "family", "family_none", "version", "version_none", "auxiliary"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None for p in detector.parameters())
    for head in (detector.binary, detector.family, detector.version):
        assert head is not None
        assert all(p.grad.abs().sum() > 0 for p in head.parameters() if p.grad is not None)
    fakes = detector.loss(Batch(batch.image[1:], batch.label[1:]))
    assert "family_none" not in fakes
