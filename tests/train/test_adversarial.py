"""Adversarial training: what it does to a batch, and that a recipe switches it on."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from unmask import create  # noqa: E402
from unmask.base.detector import Batch  # noqa: E402
from unmask.errors import RecipeError  # noqa: E402
from unmask.tasks.recipe import DetectionRecipe  # noqa: E402
from unmask.tasks.settings import Adversarial  # noqa: E402
from unmask.train.callbacks import chosen  # noqa: E402
from unmask.train.callbacks.adversarial import AdversarialTraining, attacked  # noqa: E402


class Engine:
    """Of the loop only what the callback sees."""

    step = 0

    def autocast(self) -> Any:
        return torch.autocast("cpu", enabled=False)


def test_one_large_step_ends_in_a_corner_of_the_budget() -> None:
    # The slope of class 1's loss is negative in every pixel: from any start in -b..b, -1.25 b leads below -b at most.
    how = Adversarial(budget=0.1, steps=3, step_size=1.0)
    image = torch.full((2, 3, 4, 4), 0.5)
    found = attacked(
        lambda x: torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1), image, torch.ones(2).long(), how
    )
    torch.testing.assert_close(found, torch.full_like(image, 0.4))


def test_a_share_of_the_batch_is_attacked_and_the_network_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    detector = create("meso4")
    detector.train()
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    image, label = torch.rand(4, 3, 256, 256), torch.tensor([0, 1, 0, 1])
    part = AdversarialTraining(Adversarial(budget=0.05, share=0.5), detector)
    batch = part.before_step(Batch(image, label), Engine())  # type: ignore[arg-type]
    assert torch.equal(batch.image[2:], image[2:])
    gap = (batch.image[:2] - image[:2]).abs()
    assert 0.02 < gap.max() <= 0.05 + 1e-6
    assert detector.training
    assert all(torch.equal(v, before[k]) for k, v in detector.state_dict().items())  # batch statistics too

    def loss(x: Tensor) -> Tensor:
        detector.eval()
        return F.cross_entropy(detector(x).logits, label[:2])

    assert loss(batch.image[:2]) > loss(image[:2])


def test_a_recipe_switches_it_on_and_objectives_refuse_it() -> None:
    asked = {"name": "a", "method": "meso4", "length": "3 steps", "optimizer": {"lr": 1e-3}, "adversarial": {}}
    recipe = DetectionRecipe.model_validate(asked)
    assert [c.name for c in chosen(recipe, create("meso4"), Accelerator(cpu=True))] == ["adversarial"]
    with pytest.raises(RecipeError, match="attacks a detector"):
        AdversarialTraining(Adversarial(), torch.nn.Linear(2, 2))  # type: ignore[arg-type]
