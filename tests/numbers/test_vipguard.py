"""The token's attention by hand, and that nothing else moves."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator

from unmask.base.detector import Batch
from unmask.base.method import roles
from unmask.detectors.vipguard import FaceChecker, VIPGuard
from unmask.errors import RecipeError
from unmask.tasks.recipe import Recipe
from unmask.train.engine import Engine

SMALL = {"network": "tiny-resnet", "size": 64, "tokens": 4, "width": 32, "heads": 4}


def test_attention_by_hand() -> None:
    checker = FaceChecker(2, 1, dropout=0.0)
    for part in (checker.query, checker.key, checker.value, checker.out):
        torch.nn.init.eye_(part.weight)
        torch.nn.init.zeros_(part.bias)
    checker.feed = torch.nn.Sequential(torch.nn.Identity())
    token, image = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    # Scores (2, 0) / sqrt 2: weights softmax(1.414, 0) = (0.8044, 0.1956); the sum is (1.6088, 0.5868).
    torch.testing.assert_close(checker(token, image), torch.tensor([[[1.6088, 0.5868]]]), atol=1e-3, rtol=0)
    with pytest.raises(RecipeError, match="cannot be shared"):
        FaceChecker(6, 4)


def test_only_the_token_moves() -> None:
    torch.manual_seed(0)
    detector = VIPGuard(**SMALL, trains="token")  # type: ignore[arg-type]
    assert {n for n, role in roles(detector).items() if role == "trained"} == {"token"}
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    recipe = Recipe.model_validate({"name": "t", "method": "any", "length": "3 steps", "optimizer": {"lr": 0.1}})
    engine = Engine(detector, recipe, Accelerator(cpu=True))
    batch = Batch(torch.rand(6, 3, 64, 64), torch.arange(6) % 2)
    for n in range(3):
        engine.learn([batch], n, 0.1)
    moved = {name for name, value in detector.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"token"}  # not even the statistics of batch norms
