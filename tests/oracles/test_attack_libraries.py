"""Attacks beside foolbox and ART, run on the same small network in the same test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
foolbox = pytest.importorskip("foolbox")
pytest.importorskip("art")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from unmask.attacks.auto_pgd import AutoPGD  # noqa: E402
from unmask.attacks.fgsm import FGSM  # noqa: E402
from unmask.attacks.hopskipjump import HopSkipJump  # noqa: E402
from unmask.attacks.patch import Patch  # noqa: E402
from unmask.attacks.pgd import PGD  # noqa: E402
from unmask.attacks.square import Square  # noqa: E402

SIDE, EPS = 12, 24 / 255


@pytest.fixture(scope="module")
def toy() -> tuple[nn.Module, Tensor, Tensor]:
    """Three classes that differ in one colour; pixels are multiples of 1/255, so that saving changes nothing."""
    torch.manual_seed(0)
    label = torch.arange(12) % 3
    image = torch.full((12, 3, SIDE, SIDE), 0.4) + 0.15 * F.one_hot(label, 3)[:, :, None, None]
    image = ((image + 0.15 * torch.randn(image.shape)).clamp(0, 1) * 255).round() / 255
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(200, 3))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(image), label).backward()
        optimizer.step()
    assert (net(image).argmax(1) == label).all()
    return net.eval().requires_grad_(False), image, label


def of_art(net: nn.Module) -> Any:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(net, nn.CrossEntropyLoss(), (3, SIDE, SIDE), 3, clip_values=(0.0, 1.0), device_type="cpu")


def fooled(net: nn.Module, image: Any, label: Tensor) -> float:
    return float((net(torch.as_tensor(np.asarray(image))).argmax(1) != label).float().mean())


def test_fgsm_is_foolboxs(toy: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, image, label = toy
    theirs, _, success = foolbox.attacks.FGSM()(foolbox.PyTorchModel(net, (0, 1)), image, label, epsilons=EPS)
    ours = FGSM().run(net, image, label, EPS).clamp(0, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(FGSM()(net, image, label, [EPS]).success[0], success)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_foolboxs_step_by_step(norm: str, toy: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, image, label = toy
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    budget = EPS if norm == "linf" else 1.0
    attack = kind(rel_stepsize=0.1, steps=15, random_start=False)
    theirs, _, _ = attack(foolbox.PyTorchModel(net, (0, 1)), image, label, epsilons=budget)
    ours = PGD(norm=norm, steps=15, step_size=0.1, random_start=False).run(net, image, label, budget)  # type: ignore[arg-type]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_auto_pgd_fools_as_often_as_arts(norm: str, toy: tuple[nn.Module, Tensor, Tensor]) -> None:
    from art.attacks.evasion import AutoProjectedGradientDescent

    net, image, label = toy
    for budget in (EPS / 3, EPS / 2) if norm == "linf" else (0.4, 0.7):
        theirs = AutoProjectedGradientDescent(
            of_art(net), norm=np.inf if norm == "linf" else 2, eps=budget, eps_step=2 * budget, max_iter=20,
            nb_random_init=1, loss_type="cross_entropy", verbose=False,
        ).generate(image.numpy(), label.numpy())  # fmt: skip
        ours = AutoPGD(norm=norm, steps=20, loss="cross_entropy").run(net, image, label, budget)  # type: ignore[arg-type]
        assert fooled(net, ours, label) >= fooled(net, theirs, label) - 1 / 12


def test_square_fools_as_often_as_arts(toy: tuple[nn.Module, Tensor, Tensor]) -> None:
    from art.attacks.evasion import SquareAttack

    net, image, label = toy
    theirs = SquareAttack(of_art(net), eps=2 * EPS, max_iter=200, p_init=0.8, verbose=False).generate(
        image.numpy(), label.numpy()
    )
    ours = Square(steps=200)(net, image, label, [2 * EPS])
    assert ours.success.float().mean() >= fooled(net, theirs, label) - 2 / 12
    assert ours.success.float().mean() > 0.5


def test_hopskipjump_comes_as_near_as_foolboxs(toy: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, image, label = toy
    some, of = image[:4], label[:4]
    attack = foolbox.attacks.HopSkipJumpAttack(
        foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(steps=20), steps=5, initial_gradient_eval_steps=50
    )
    torch.manual_seed(0)
    theirs, _, success = attack(foolbox.PyTorchModel(net, (0, 1)), some, of, epsilons=None)
    ours = HopSkipJump(steps=5, first=50)(net, some, of, [20.0])
    assert success.all()
    assert ours.success.all()
    reached = (theirs - some).flatten(1).norm(dim=1)
    assert ours.distance[0].median() < 1.25 * reached.median()


def test_patch_fools_as_often_as_arts(toy: tuple[nn.Module, Tensor, Tensor]) -> None:
    from art.attacks.evasion import AdversarialPatchPyTorch

    net, image, label = toy
    of = label == 0  # ART's patch is made for one target; ours leads away from the true class
    theirs = AdversarialPatchPyTorch(
        of_art(net), rotation_max=0.0, scale_min=0.5, scale_max=0.5, learning_rate=0.1, max_iter=30, batch_size=4,
        patch_shape=(3, SIDE, SIDE), patch_type="square", verbose=False, targeted=False, optimizer="pgd",
    )  # fmt: skip
    theirs.generate(image[of].numpy(), F.one_hot(label[of], 3).float().numpy())
    pasted = theirs.apply_patch(image[of].numpy(), scale=0.5)
    ours = Patch(steps=30, rate=0.1)(net, image[of], label[of], [0.25])
    assert ours.success.float().mean() >= fooled(net, pasted, label[of]) - 0.25
    assert ours.success.float().mean() > 0.5
