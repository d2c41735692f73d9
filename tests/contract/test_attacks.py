"""What every attack promises: a new file in `unmask.attacks` is tested without a line here."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from unmask.base.attack import Attack, distance, noise_like  # noqa: E402
from unmask.registry import FAMILIES  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402

SLOW = {"attribute_evasion", "blto"}  # they train a generator
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FAMILIES["attack"].names()]
BUDGETS = {"linf": (4 / 255, 32 / 255), "l2": (0.5, 5.0), "l0": (0.1, 0.3)}  # the larger: enough for a few queries
SIDE = 16


def budgets_of(attack: Attack) -> tuple[float, ...]:
    """Two; of a scale of its own the last that it calls usual."""
    return BUDGETS.get(attack.norm) or attack.usual()[-2:]


def create(name: str) -> Attack:
    attack: Attack = FAMILIES["attack"].create(name, FAMILIES["attack"].card(name).small)
    return attack


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small network that tells bright images from dark ones, nearly surely."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)]
    net = nn.Sequential(*layers)
    x, y = images()
    net(x)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(16) % 2
    level = 0.42 + 0.16 * label.float().view(-1, 1, 1, 1)
    return (level + 0.2 * torch.randn(16, 3, SIDE, SIDE, generator=generator)).clamp(0, 1), label


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_in_its_budget_and_in_range_after_saving_to_8_bits(name: str, model: nn.Module) -> None:
    image, label = images()
    attack = create(name)
    budgets = budgets_of(attack)
    made = attack(model, image, label, budgets)
    clean = (image * 255).round() / 255
    for budget, one in zip(budgets, made.image, strict=True):
        assert one.min() >= 0
        assert one.max() <= 1
        torch.testing.assert_close(one * 255, (one * 255).round(), atol=1e-3, rtol=0)
        assert attack.norm == "own" or (distance(one, clean, attack.norm) <= budget + 1e-5).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_raises_the_loss_more_than_noise_of_the_same_norm(name: str, model: nn.Module) -> None:
    image, label = images()
    attack = create(name)
    made = attack(model, image, label, [budgets_of(attack)[1]])
    noisy = noise_like(made.image[0] - image, attack.norm).add(image).clamp(0, 1)
    assert F.cross_entropy(model(made.image[0]), label) > 1.2 * F.cross_entropy(model(noisy), label)


@pytest.mark.parametrize("name", NAMES)
def test_success_is_what_the_model_says_of_the_saved_images(name: str, model: nn.Module) -> None:
    image, label = images()
    made = create(name)(model, image, label, [0.0, *budgets_of(create(name))])
    for one, success in zip(made.image, made.success, strict=True):
        torch.testing.assert_close(success, model(one).argmax(1) != label)
    torch.testing.assert_close(made.success[0], made.clean)  # a budget of 0 changes nothing
    assert made.success[-1].sum() > made.clean.sum()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_images_and_the_input_is_not_changed(name: str, model: nn.Module) -> None:
    image, label = images()
    kept = image.clone()
    one, two = (create(name)(model, image, label, budgets_of(create(name)), seed=3).image for _ in range(2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    torch.testing.assert_close(image, kept, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_image_is_refused(name: str, model: nn.Module) -> None:
    image, label = images()
    for wrong, budgets in ((image + 1, [0.1]), (image[:, :1], [0.1]), (image, [-0.1]), (image, [])):
        with pytest.raises(UnmaskError):
            create(name)(model, wrong, label, budgets)
