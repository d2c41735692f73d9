"""Momentum difficulty boosting, by hand: what is remembered, what it weighs, and that it is only a weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.tasks.recipe import Recipe
from unmask.tasks.settings import Difficulty
from unmask.train import callbacks
from unmask.train.callbacks.difficulty import Boosting, hardness, mean_by, moved, weights
from unmask.train.engine import Engine
from unmask.types import UnmaskError


class Linear(Detector):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 2)

    def forward(self, image: torch.Tensor) -> Output:
        features = image.mean((2, 3))
        return Output(self.head(features), features)


def batch(n: int = 6, first: int = 0) -> Batch:
    image = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    return Batch(image, torch.arange(n) % 2, index=torch.arange(first, first + n))


def engine_of(detector: Detector, recipe: Recipe, steps: int) -> Engine:
    alone = Accelerator(cpu=True)
    rules = callbacks.chosen(recipe, detector, alone, rows=6, steps=steps)
    return Engine(detector, recipe, alone, steps=steps, callbacks=rules)


def boosting(rows: int = 8, steps: int = 0, **options: object) -> Boosting:
    return Boosting(Difficulty.model_validate(options), rows, steps, Accelerator(cpu=True))


def sure(p: float, label: int) -> torch.Tensor:
    """Logits whose softmax gives the label's class p."""
    margin = torch.logit(torch.tensor(p, dtype=torch.double))
    return torch.stack([torch.zeros(()).double(), margin if label else -margin])


def test_after_scripted_visits_a_row_has_the_closed_form() -> None:
    # d_t = m^t d_0 + (1 - m) sum_k m^(t - k) u_k with d_0 = 1 and u = 1 - p; two rows, each with its own p.
    seen = {2: [0.9, 0.2, 0.6, 0.99], 5: [0.5, 0.1, 0.3, 0.7]}
    remembered = boosting(momentum=0.8)
    for visit in range(4):
        logits = torch.stack([sure(seen[2][visit], 0), sure(seen[5][visit], 1)])
        pair = Batch(torch.zeros(2, 3, 1, 1), torch.tensor([0, 1]), index=torch.tensor([2, 5]))
        remembered.weigher(pair, visit)(logits)
    for row, p in seen.items():
        want = 0.8**4 + 0.2 * sum(0.8 ** (3 - k) * (1 - p[k]) for k in range(4))
        assert remembered.rows[row].item() == pytest.approx(want, abs=1e-12)
    assert (remembered.rows[[0, 1, 3, 4, 6, 7]] == 1).all()  # never visited


def test_without_memory_a_row_is_as_hard_as_it_was_last() -> None:
    assert torch.equal(moved(torch.tensor([0.3]), torch.tensor([0.7]), 0.0), torch.tensor([0.7]))


def test_hardness_by_hand() -> None:
    logits = torch.stack([sure(0.9, 0), sure(0.2, 1), sure(0.7, 0), sure(0.4, 1)])  # two views of two images
    label = torch.tensor([0, 1])
    # the first image: 1 - 0.9 and 1 - 0.7; the second: 1 - 0.2 and 1 - 0.4
    torch.testing.assert_close(hardness(logits, label), torch.tensor([0.2, 0.7]).double())
    want = -torch.tensor([0.9 * 0.7, 0.2 * 0.4]).double().log() / 2
    torch.testing.assert_close(hardness(logits, label, "loss"), want)


def test_weights_by_hand() -> None:
    # (0.4 + 0.1)^2 = 0.25 and (0.9 + 0.1)^2 = 1: mean 0.625, so 0.4 and 1.6
    torch.testing.assert_close(weights(torch.tensor([0.4, 0.9]), 2, 0.1, (0.2, 5)), torch.tensor([0.4, 1.6]))
    # nine easy rows and one hard: 0.1 and 1.1, mean 0.2: 0.5 and 5.5, clipped to 5, mean 0.95 again
    d = torch.tensor([0.0] * 9 + [1.0])
    torch.testing.assert_close(weights(d, 1, 0.1, (0.2, 5)), torch.tensor([0.5] * 9 + [5.0]) / 0.95)


def test_each_class_keeps_its_share_where_asked() -> None:
    d, label = torch.tensor([0.9, 0.7, 0.1, 0.2, 0.3]), torch.tensor([1, 1, 0, 0, 0])
    w = weights(d, 1, 0.1, (0.01, 100), label)
    # fakes (1, 0.8) over 0.9; reals (0.2, 0.3, 0.4) over 0.3
    torch.testing.assert_close(w, torch.tensor([1 / 0.9, 0.8 / 0.9, 2 / 3, 1, 4 / 3]))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_the_mean_weight_is_one(gamma: float) -> None:
    d = torch.rand(33, generator=torch.Generator().manual_seed(1)).double()
    w = weights(d, gamma, 0.1, (0.2, 5))
    assert w.mean().item() == pytest.approx(1, abs=1e-6)
    assert (w[d.argsort()].diff() >= 0).all()  # what is harder never counts less
    assert (w.max() > w.min()) == (gamma > 0)


def test_gamma_rises_over_its_part_of_the_run() -> None:
    slow = boosting(steps=100, gamma=2.0, ramp=0.2)
    assert [slow.weigher(batch(), step).gamma for step in (0, 5, 10, 20, 99)] == [0, 0.5, 1, 2, 2]
    assert boosting(steps=100, ramp=0).weigher(batch(), 0).gamma == 0  # the first step of all rests on nothing yet


def test_a_row_twice_in_a_batch_counts_its_mean_once() -> None:
    torch.testing.assert_close(
        mean_by(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]), 2), torch.tensor([2.0, 5.0])
    )
    twice = Batch(torch.zeros(2, 3, 1, 1), torch.tensor([1, 1]), index=torch.tensor([4, 4]))
    remembered = boosting(momentum=0.5)
    remembered.weigher(twice, 0)(torch.stack([sure(0.9, 1), sure(0.5, 1)]))
    assert remembered.rows[4].item() == pytest.approx(0.5 + 0.5 * 0.3)  # u = (0.1 + 0.5) / 2


def test_no_gradient_flows_into_the_weights_and_the_sum_is_the_weighted_mean() -> None:
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), requires_grad=True)
    asked = batch()
    weigher = boosting(steps=1, ramp=0).weigher(asked, 1)
    loss = cross_entropy(logits, replace(asked, weigh=weigher))
    w = weigher(logits)
    assert not w.requires_grad
    each = F.cross_entropy(logits, asked.label, reduction="none")
    torch.testing.assert_close(loss, (w * each).mean())
    # the gradient of a weighted mean whose weights are numbers: w_i (softmax - one hot) / B
    (found,) = torch.autograd.grad(loss, logits)
    want = w[:, None] * (logits.softmax(1) - F.one_hot(asked.label, 2)) / 6
    torch.testing.assert_close(found, want.detach())


def learnt(steps: int = 3, **options: object) -> torch.Tensor:
    torch.manual_seed(0)
    detector = Linear()
    values: dict[str, object] = {"name": "a", "method": "any", "length": "3 steps", "optimizer": {"lr": 0.1}}
    recipe = Recipe.model_validate(values | options)
    engine = engine_of(detector, recipe, 3)
    for step in range(steps):
        engine.learn([batch()], step, 0.1)
    return torch.cat([p.detach().flatten() for p in detector.parameters()])


def test_gamma_nought_is_plain_training_to_the_last_bit() -> None:
    assert torch.equal(learnt(), learnt(difficulty={"gamma": 0}))
    assert not torch.equal(learnt(), learnt(difficulty={"ramp": 0}))


def test_a_sharpness_step_visits_each_row_once() -> None:
    detector = Linear()
    values = {"name": "a", "method": "any", "length": "1 steps", "optimizer": {"lr": 1e-9}, "sam": 1e-9}
    recipe = Recipe.model_validate(values | {"difficulty": {"momentum": 0.5}})
    engine = engine_of(detector, recipe, 1)
    engine.learn([batch()], 0, 1e-9)
    remembered = engine.callbacks[0]
    assert isinstance(remembered, Boosting)
    u = hardness(detector(batch().image).logits.detach().double(), batch().label)
    torch.testing.assert_close(remembered.rows, 0.5 + 0.5 * u, atol=1e-6, rtol=0)


def test_a_loss_that_weighs_nothing_is_an_error() -> None:
    class Own(Linear):
        def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
            return {"own": self(batch.image).logits.square().mean()}

    recipe = Recipe.model_validate(
        {"name": "a", "method": "any", "length": "1 steps", "optimizer": {"lr": 0.1}, "difficulty": {}}
    )
    engine = engine_of(Own(), recipe, 1)
    with pytest.raises(UnmaskError, match="this method's loss does not weigh images"):
        engine.learn([batch()], 0, 0.1)
    with pytest.raises(UnmaskError, match="which row is which"):
        engine.learn([Batch(batch().image, batch().label)], 0, 0.1)


def test_bounds_that_do_not_lie_about_one_are_refused() -> None:
    with pytest.raises(ValueError, match="clip lies about 1"):
        Difficulty(clip=(1.5, 5.0))
