"""Likelihoods of cMIM by hand and against torch's distributions."""

from __future__ import annotations

import math

import pytest
import torch

from unmask.base.objective import Views
from unmask.objectives.cmim import gaussian, same_code
from unmask.registry import FAMILIES
from unmask.types import UnmaskError


def test_the_likelihood_is_that_of_torch() -> None:
    torch.manual_seed(0)
    x, mean, log_var = (torch.randn(4, 3, 2, dtype=torch.float64) for _ in range(3))
    expected = torch.distributions.Normal(mean, (log_var / 2).exp()).log_prob(x).sum((1, 2))
    torch.testing.assert_close(gaussian(x, mean, log_var), expected, atol=1e-12, rtol=0)
    # At the mean, with variance 1, two dimensions: -log(2 pi) = -1.837877.
    assert gaussian(torch.ones(1, 2), torch.ones(1, 2), 0.0).item() == pytest.approx(-1.837877, abs=1e-6)


def test_the_same_code_by_hand() -> None:
    # Codes along x, x and y, at temperature 1: s of the first is 1 to itself, 1 and 0 to the others.
    # log p = 1 - log(e + (e + 1) / 2); of the third 1 - log(e + 1).
    z = torch.tensor([[1.0, 0], [5, 0], [0, 2]])
    first, third = 1 - math.log(math.e + (math.e + 1) / 2), 1 - math.log(math.e + 1)
    assert same_code(z, 1.0).tolist() == pytest.approx([first, first, third], abs=1e-6)


def test_the_size_of_the_batch_does_not_matter() -> None:
    # Orthogonal codes: every other has s = 0, whatever their number: log p = 10 - log(e^10 + 1).
    for size in (2, 8, 64):
        assert same_code(torch.eye(64)[:size])[0].item() == pytest.approx(10 - math.log(math.exp(10) + 1), abs=1e-5)
    # Equal codes cannot be told apart: log 1/2, whatever their number.
    for size in (2, 64):
        assert same_code(torch.ones(size, 3))[0].item() == pytest.approx(math.log(0.5), abs=1e-5)


def test_the_three_losses_by_their_signs(one_thread: None) -> None:
    # With one draw of z: VAE has -log p(z) + log q, A-MIM half of each and both with a minus, cMIM one term more.
    family, image = FAMILIES["objective"], torch.rand(4, 3, 32, 32)
    batch = Views((image,), (torch.zeros(4, 4),), torch.arange(4), torch.full((4,), -1))
    found = {}
    for kind in ("vae", "amim", "cmim"):
        torch.manual_seed(0)
        found[kind] = family.create("cmim", family.card("cmim").small | {"loss": kind}).loss(batch)
    vae, amim, cmim = (found[k] for k in ("vae", "amim", "cmim"))
    assert amim["prior"].item() == pytest.approx(vae["prior"].item() / 2)
    assert amim["posterior"].item() == pytest.approx(-vae["posterior"].item() / 2)
    assert [cmim[k].item() for k in amim] == pytest.approx([t.item() for t in amim.values()])
    assert set(cmim) - set(amim) == {"contrast"}
    with pytest.raises(UnmaskError, match="multiple of 32"):
        family.create("cmim", {"size": 48})
