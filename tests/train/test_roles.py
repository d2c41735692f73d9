"""Roles of state: what is guessed, what is declared, and what a wrong declaration says."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from unmask.base.method import Group, Method, roles
from unmask.nn.momentum import MomentumEncoder
from unmask.nn.queue import FeatureQueue
from unmask.tasks.settings import Optimizer
from unmask.train.checkpoint import frozen, learnt
from unmask.train.optim import LARS, decay_at, groups
from unmask.types import UnmaskError


class Toy(Method[Tensor]):
    roles: ClassVar = {"table": "frozen"}

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.old = nn.Linear(2, 2).requires_grad_(False)
        self.teacher, self.queue = MomentumEncoder(self.body), FeatureQueue(4, 2)
        self.register_buffer("table", torch.eye(2))

    def loss(self, batch: Tensor) -> dict[str, Tensor]:
        return {"square": self.body(batch).square().mean()}

    def parameter_groups(self) -> list[Group]:
        return [Group(("body.1",), lr=0.5, weight_decay=0.0)]


def test_roles_are_declared_or_guessed() -> None:
    toy = Toy()
    found = roles(toy)
    assert list(found) == list(toy.state_dict())
    by_role = {role: {n for n in found if found[n] == role} for role in set(found.values())}
    assert by_role["trained"] == {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"}
    assert by_role["frozen"] == {"old.weight", "old.bias", "table"}
    statistics = {"body.1.running_mean", "body.1.running_var"}
    assert by_role["averaged"] == statistics | {n for n in found if n.startswith("teacher.")}
    assert by_role["replicated"] == {"body.1.num_batches_tracked", "queue.rows", "queue.ids", "queue.pushed"}
    assert frozen(toy).keys() == by_role["frozen"]
    assert learnt(toy).keys() == found.keys() - by_role["frozen"]


def test_tied_weights_have_one_role_and_one_name() -> None:
    module = nn.Module()
    module.a = module.b = nn.Linear(1, 1)
    assert list(roles(module)) == ["a.weight", "a.bias"]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"tabel": "frozen"}, "names 'tabel', and there is no such tensor"),
        ({"table": "trained"}, "table is declared trained, and is a buffer"),
        ({"body": "averaged"}, "body.0.weight is declared averaged, and requires a gradient"),
    ],
)
def test_a_declaration_that_cannot_be_is_an_error(declared: dict[str, str], said: str) -> None:
    toy = Toy()
    toy.roles = declared  # type: ignore[assignment,misc]
    with pytest.raises(TypeError, match=said):
        roles(toy)


def test_factors_of_method_and_recipe_multiply() -> None:
    recipe = Optimizer.model_validate(
        {"lr": 1.0, "groups": {"body": {"lr": 0.1}, "body.0.bias": {"lr": 0}}, "decay_vectors": False}
    )
    toy = Toy()
    names = {id(p): n for n, p in toy.named_parameters()}
    found = {names[id(p)]: (g["lr_factor"], g["decay_factor"]) for g in groups(recipe, toy) for p in g["params"]}
    assert found == {  # body.1 is halved by the method; vectors do not decay
        "body.0.weight": (0.1, 1.0),
        "body.0.bias": (0.0, 0.0),
        "body.1.weight": (0.05, 0.0),
        "body.1.bias": (0.05, 0.0),
    }
    with pytest.raises(UnmaskError, match=r"optimizer\.groups: no weight that trains is named teacher"):
        groups(Optimizer.model_validate({"lr": 1, "groups": {"teacher": {}}}), toy)


def test_layer_wise_decay_by_hand() -> None:
    from unmask.nn.backbones import Encoder

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = Encoder("tiny-dinov2"), nn.Linear(64, 2)

    recipe = Optimizer.model_validate({"lr": 1.0, "layer_decay": 0.5})
    module = Two()
    names = {id(p): n for n, p in module.named_parameters()}
    found = {names[id(p)]: g["lr_factor"] for g in groups(recipe, module) for p in g["params"]}
    # two blocks: patches at 0.5^3, blocks at 0.5^2 and 0.5^1, what follows and the head at 1
    assert found["encoder.body.embeddings.patch_embeddings.projection.weight"] == 0.125
    assert found["encoder.body.encoder.layer.0.norm1.weight"] == 0.25
    assert found["encoder.body.encoder.layer.1.norm1.weight"] == 0.5
    assert found["encoder.body.layernorm.weight"] == found["head.weight"] == 1
    with pytest.raises(UnmaskError, match=r"optimizer\.layer_decay needs a transformer"):
        groups(recipe, Toy())


def test_lars_by_hand() -> None:
    matrix, vector = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([1.0]))
    moving = LARS([{"params": [matrix]}, {"params": [vector], "adapt": False}], 0.1, 0.5, 0.2, trust=0.01)
    for step in range(2):
        matrix.grad, vector.grad = torch.tensor([[0.0, 2.0]]), torch.tensor([3.0])
        moving.step()
        if not step:
            # ||w|| 5, ||g|| 2: rate 0.01 * 5 / (2 + 0.2 * 5) = 1/60; v = (0.6, 2 + 0.8) / 60 = (0.01, 0.14 / 3)
            torch.testing.assert_close(matrix.data, torch.tensor([[3 - 0.001, 4 - 0.014 / 3]]))
            torch.testing.assert_close(vector.data, torch.tensor([1 - 0.1 * 3]))
    torch.testing.assert_close(vector.data, torch.tensor([0.7 - 0.1 * (0.5 * 3 + 3)]))  # the velocity keeps a half


def test_weight_decay_may_follow_a_cosine() -> None:
    recipe = Optimizer(lr=1.0, weight_decay=0.04, weight_decay_end=0.4)
    assert [decay_at(recipe, n, 10) for n in (0, 5, 10)] == pytest.approx([0.04, 0.22, 0.4])
    assert decay_at(Optimizer(lr=1.0, weight_decay=0.1), 7, 10) == 0.1
