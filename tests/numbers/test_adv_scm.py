"""AdvSCM: the warp by hand, its bounds, and who learns from what."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from unmask.base.detector import Batch, Detector, Output
from unmask.base.method import Engine
from unmask.tasks.settings import AdvScm
from unmask.train.callbacks.adv_scm import Adversary, Warp, field, inconsistency, warped
from unmask.types import UnmaskError

BOUNDS = AdvScm()


class Small(Detector):
    """Its features depend on where things are in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 8))
        self.head = torch.nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Output:
        features = self.body(image)
        return Output(self.head(features), features)


class Plain:
    """An engine that only collects gradients."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def autocast(self) -> nullcontext[None]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        self.losses.append(loss.detach())
        loss.backward()

    step, steps, per_epoch, done = 0, 1, 1, 0.0

    def update(self) -> bool:
        return False

    def gather(self, x: Tensor) -> Tensor:
        return x


def against(detector: Detector, **options: float) -> Adversary:
    return Adversary(AdvScm.model_validate(options), detector, 1, 1, Accelerator(cpu=True))


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def batch(n: int = 12) -> Batch:
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    return Batch(torch.nn.functional.interpolate(coarse, size=16, mode="bilinear"), torch.arange(n) % 2)


def share(**given: float) -> Tensor:
    """One image's numbers: turn, zoom, across, down, and no bends."""
    numbers = torch.zeros(1, 4 + 2 * BOUNDS.grid**2)
    for place, name in enumerate(("turn", "zoom", "across", "down")):
        numbers[0, place] = given.get(name, 0.0)
    return numbers


def seen(image: Tensor, numbers: Tensor, bounds: AdvScm = BOUNDS) -> Tensor:
    return warped(image, field(numbers, image.shape[2:], bounds))


def test_nothing_asked_moves_nothing() -> None:
    image = batch(1).image
    torch.testing.assert_close(seen(image, share()), image, atol=1e-5, rtol=0)


def test_a_shift_by_hand() -> None:
    # a full share shifts by a quarter of 16 pixels: what stood at column x + 4 stands at column x
    image = batch(1).image
    moved = seen(image, share(across=1.0))
    torch.testing.assert_close(moved[..., :12], image[..., 4:], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[..., 12:], image[..., 12:].flip(3), atol=1e-5, rtol=0)  # mirrored at the edge
    torch.testing.assert_close(
        seen(image, share(down=-0.5))[:, :, 2:], image[:, :, :-2], atol=1e-5, rtol=0
    )  # half of it, the other way


def test_a_quarter_turn_and_a_zoom_by_hand() -> None:
    image = batch(1).image
    turned = seen(image, share(turn=1.0), AdvScm(rotation=90))
    # pixel (x, y) looks at (-y, x): the image turns against the clock
    torch.testing.assert_close(turned, image.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    where = field(share(zoom=-1.0), (16, 16), BOUNDS)
    plain = field(share(), (16, 16), BOUNDS)
    torch.testing.assert_close(where, 0.75 * plain)  # 1 - 0.25: the image is looked at closer


def test_a_bend_moves_the_corner_it_belongs_to_and_no_other() -> None:
    numbers = share()
    numbers[0, 4] = 1.0  # the upper left point of the grid, across: 0.1 of the side is 0.2 of grid_sample's units
    bent = field(numbers, (16, 16), BOUNDS) - field(share(), (16, 16), BOUNDS)
    assert bent[0, 0, 0].tolist() == pytest.approx([0.2, 0.0], abs=1e-6)
    assert bent[0, 8:].abs().max().item() < 1e-6


def test_bounds_hold_whatever_the_adversary_has_learnt() -> None:
    warp = Warp(BOUNDS)
    with torch.no_grad():
        for weight in warp.parameters():
            weight.mul_(100)
    image = batch().image
    moved, numbers = warp(image)
    assert numbers.abs().max() <= 1
    assert moved.min() >= image.min() - 1e-5  # a look-up between pixels invents nothing
    assert moved.max() <= image.max() + 1e-5
    centre = field(numbers, (17, 17), AdvScm(bend=0))[:, 8, 8]
    assert centre.abs().max() <= 2 * BOUNDS.shift + 1e-6  # of an image two units wide


def test_inconsistency_by_hand() -> None:
    one, other = torch.tensor([[1.0, 0], [1, 0], [1, 0]]), torch.tensor([[2.0, 0], [0, 3], [-1, 0]])
    assert inconsistency(one, other).item() == pytest.approx(1)  # of 0, 1 and 2


def gap(detector: Detector, warp: Warp, image: Tensor) -> float:
    with torch.no_grad():
        return inconsistency(detector(image).features, detector(warp(image)[0]).features).item()


def test_the_adversary_climbs_while_the_detector_stands_still() -> None:
    detector, asked = small(), batch()
    adversary = against(detector, lr=1e-3)
    before, start = gap(detector, adversary.warp, asked.image), [p.clone() for p in detector.parameters()]
    for _ in range(20):
        adversary.step(detector, asked, Plain())
        adversary.after_update()
        detector.zero_grad()
    after = gap(detector, adversary.warp, asked.image)
    assert all(torch.equal(a, b) for a, b in zip(start, detector.parameters(), strict=True))
    torch.manual_seed(1)  # the same bounds at random, 40 draws
    random = []
    for _ in range(40):
        numbers = 2 * torch.rand(len(asked.label), 4 + 2 * BOUNDS.grid**2) - 1
        with torch.no_grad():
            moved = seen(asked.image, numbers)
            random.append(inconsistency(detector(asked.image).features, detector(moved).features).item())
    assert after > before
    assert after > sum(random) / len(random)


def test_gradients_are_those_of_the_two_losses_each_with_the_other_fixed() -> None:
    detector, asked, engine = small(), batch(), Plain()
    adversary = against(detector, weight=0.5)
    terms = adversary.step(detector, asked, engine)
    assert set(terms) == {"cls", "cls_moved", "consistency", "reach"}
    # the detector: L(x) + L(x') + 0.5 L_con at an image x' that is only a number
    x = adversary.warp(asked.image)[0].detach()
    fixed = small()
    one, other = fixed(asked.image), fixed(x)
    ce = torch.nn.functional.cross_entropy
    apart = inconsistency(one.features, other.features)
    loss = ce(one.logits, asked.label) + ce(other.logits, asked.label) + 0.5 * apart
    loss.backward()
    assert engine.losses == [pytest.approx(loss.item())]
    for a, b in zip(detector.parameters(), fixed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    # the adversary: -L_con, through a detector that is only a function
    twin = against(detector, weight=0.5).warp
    still = small().requires_grad_(False)
    (-inconsistency(still(asked.image).features, still(twin(asked.image)[0]).features)).backward()
    for a, b in zip(adversary.weights, twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_detectors_descent_lowers_what_the_adversary_found() -> None:
    detector, asked = small(), batch()
    adversary = against(detector, weight=5.0)
    optimizer = torch.optim.SGD(detector.parameters(), 0.05)
    before = gap(detector, adversary.warp, asked.image)
    for _ in range(10):
        adversary.step(detector, asked, Plain())  # the adversary does not update
        optimizer.step()
        optimizer.zero_grad()
    assert gap(detector, adversary.warp, asked.image) < before


def test_methods_it_does_not_fit_are_refused() -> None:
    class Twice(Small):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            return {"cls": self(batch.image).logits.mean() + self(batch.image).logits.mean()}

    class Own(Small):
        def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
            return {}

    with pytest.raises(UnmaskError, match="looked 2 times"):
        against(Twice()).step(Twice(), batch(), Plain())
    with pytest.raises(UnmaskError, match="a training rule of its own"):
        against(Own())
