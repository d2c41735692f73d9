"""Steps of the attacks on a linear model, by hand."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from unmask.attacks.fgsm import FGSM  # noqa: E402
from unmask.attacks.pgd import PGD, ascent  # noqa: E402
from unmask.base.attack import project  # noqa: E402


def linear(image: Tensor) -> Tensor:
    """Logits (0, 2 r - g): more red or less green is more fake."""
    r, g = image[:, 0, 0, 0], image[:, 1, 0, 0]
    return torch.stack([torch.zeros_like(r), 2 * r - g], 1)


def grey(label: int) -> tuple[Tensor, Tensor]:
    return torch.full((1, 3, 1, 1), 100 / 255), torch.tensor([label])


def test_fgsm_steps_against_a_forgerys_evidence() -> None:
    # Label fake: the loss rises where 2 r - g falls, so red goes down by 8 levels, green up by 8, blue has no gradient.
    made = FGSM()(linear, *grey(1), [8 / 255])
    torch.testing.assert_close(made.image[0, 0, :, 0, 0] * 255, torch.tensor([92.0, 108.0, 100.0]))
    # Before: logit 2 * 100/255 - 100/255 > 0, called fake, rightly. After: 184 - 108 = 76 > 0, still fake.
    assert not made.clean
    assert not made.success[0]
    # 60 levels: red 40, green 160; 80 - 160 < 0: it passes as real.
    assert FGSM()(linear, *grey(1), [60 / 255]).success[0]


def test_pgd_in_l2_goes_along_the_gradient() -> None:
    # Direction (-2, 1) / sqrt(5); a budget of 10 levels: (-8.94, 4.47) levels, cut towards 0: (-8, 4).
    made = PGD(norm="l2", steps=60, random_start=False)(linear, *grey(1), [10 / 255])
    torch.testing.assert_close(made.image[0, 0, :, 0, 0] * 255, torch.tensor([92.0, 104.0, 100.0]))


def test_projection_and_ascent_by_hand() -> None:
    delta = torch.tensor([[3.0, -4.0]])
    torch.testing.assert_close(project(delta, "l2", 1.0), torch.tensor([[0.6, -0.8]]))  # length 5
    torch.testing.assert_close(project(delta, "linf", 3.5), torch.tensor([[3.0, -3.5]]))
    torch.testing.assert_close(ascent(delta, "l2"), torch.tensor([[0.6, -0.8]]))
