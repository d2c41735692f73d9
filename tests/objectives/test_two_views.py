"""What two-view objectives and FaceNet keep between steps: teachers, queues, prototypes, an old network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn

from unmask import registry
from unmask.base.method import roles
from unmask.base.objective import Objective, Views
from unmask.tasks.recipe import Recipe
from unmask.train.engine import Engine
from unmask.types import UnmaskError

RECIPE = {"name": "two-views", "method": "any", "length": "8 steps", "optimizer": {"name": "sgd", "lr": 0.1}}


def create(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    torch.manual_seed(0)
    small = registry.card("objective", name).small
    method: Objective = registry.create("objective", name, small | dict(options or {}))
    return method.train()


def views(n: int = 8, sizes: tuple[int, ...] = (32, 32), seed: int = 0) -> Views:
    generator = torch.Generator().manual_seed(seed)
    images = tuple(torch.rand(n, 3, s, s, generator=generator) for s in sizes)
    return Views(images, (), torch.arange(n), torch.arange(n) % 4)


def engine(method: Objective, steps: int = 8, **recipe: Any) -> Engine:
    return Engine(method, Recipe.model_validate(RECIPE | recipe), Accelerator(cpu=True), steps=steps, per_epoch=2)


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


@pytest.mark.parametrize(("name", "momentum"), [("moco", 0.999), ("byol", 0.996)])
def test_a_teacher_is_the_mean_of_student_and_itself(name: str, momentum: float) -> None:
    method = create(name)
    before = weights(method.teacher)
    run = engine(method)
    run.learn([views()], 0, 0.1)
    want = momentum * before + (1 - momentum) * weights(method.student)
    torch.testing.assert_close(weights(method.teacher), want, atol=1e-6, rtol=0)
    assert not torch.equal(weights(method.teacher), before)


def test_a_teacher_begins_as_the_pretrained_student(tmp_path: Path) -> None:
    other = create("simclr").encoder
    with torch.no_grad():
        next(other.parameters()).fill_(0.5)
    save_file({k: v.contiguous() for k, v in other.body.state_dict().items()}, tmp_path / "start.safetensors")
    for name in ("simclr", "moco", "byol", "swav", "hallucinator"):
        method = create(name)
        method.load_pretrained(tmp_path / "start.safetensors")
        assert (next(method.encoder.parameters()) == 0.5).all()
    method = create("byol")
    method.load_pretrained(tmp_path / "start.safetensors")
    assert torch.equal(weights(method.teacher), weights(method.student))


@pytest.mark.parametrize(("published", "rows"), [(False, 8), (True, 16)])
def test_the_queue_takes_keys_once_or_as_published_twice(published: bool, rows: int) -> None:
    method = create("hallucinator", {"host": "moco", "queue": 20, "published": published})
    start = method.queue.rows.clone()
    engine(method).learn([views()], 0, 0.1)
    fresh = (method.queue.rows != start).any(1)
    assert fresh.sum() == rows
    torch.testing.assert_close(method.queue.rows[fresh].norm(dim=1), torch.ones(rows))


def test_while_batches_are_accumulated_nothing_follows() -> None:
    method = create("moco", {"queue": 20})
    start, before = method.queue.rows.clone(), weights(method.teacher)
    run = engine(method, accumulate=2)
    run._last_batch = False
    method.step(views(), run)
    assert torch.equal(method.queue.rows, start)
    assert torch.equal(weights(method.teacher), before)


def test_prototypes_stay_at_first_and_have_unit_length() -> None:
    method = create("swav", {"frozen": 2})
    run, start = engine(method), method.prototypes.detach().clone()
    for step in range(3):
        run.learn([views(seed=step)], step, 0.1)
        moved = not torch.allclose(method.prototypes, start)
        assert moved == (step == 2)
    method.loss(views())
    torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(len(start)))


def test_swavs_queue_is_filled_from_its_epoch_on_and_used_when_full() -> None:
    method = create("swav", {"queue": 16, "queue_from": 1.0})
    run, seen = engine(method), []
    for step in range(4):
        run.learn([views(seed=step)], step, 0.1)
        seen.append(len(method.queues[0]))
    assert seen == [0, 0, 8, 16]  # two steps are an epoch
    scores = method.scores(torch.nn.functional.normalize(torch.randn(8, 16), dim=1)).detach()
    used = method.codes(scores, 0)
    method.queues[0].pushed.fill_(8)
    assert not torch.allclose(used, method.codes(scores, 0))


def test_small_crops_predict_and_are_not_assigned() -> None:
    method = create("swav")
    terms = method.loss(views(sizes=(32, 32, 16, 16, 16)))
    terms["swav"].backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    with pytest.raises(UnmaskError, match="two views or more"):
        method.loss(views(sizes=(32,)))


def test_simlap_refuses_two_classes_and_leaves_out_what_has_no_label() -> None:
    with pytest.raises(UnmaskError, match="three or more"):
        create("simlap", {"classes": 2})
    method, batch = create("simlap"), views()
    batch.label[:3] = -1
    assert all(torch.isfinite(term) for term in method.loss(batch).values())
    batch.label.fill_(-1)
    assert all(term == 0 for term in method.eval().loss(batch).values())


def test_families_are_contrasted_over_synthetic_images_alone() -> None:
    method, batch = create("selfcon", {"families": True}), views()
    both = method.loss(batch)
    assert both["family"] > 0
    assert both["origin"] > 0
    batch.label.fill_(0)  # real images alone: one origin, no family
    assert method.loss(batch)["family"] == 0


def test_harmonic_triplets_need_and_never_change_the_old_network(tmp_path: Path) -> None:
    old, new = create("facenet"), create("facenet", {"harmonic": True})
    with pytest.raises(UnmaskError, match="old network"):
        new.loss(views())
    with torch.no_grad():
        next(old.parameters()).add_(1)
    state = {k: v.contiguous() for k, v in old.state_dict().items()}
    save_file(state, tmp_path / "best.safetensors")
    new.load_pretrained(tmp_path / "best.safetensors")
    before = weights(new.old.module)
    assert torch.equal(before, weights(old.student))
    assert {role for name, role in roles(new).items() if name.startswith("old.")} == {"frozen"}
    terms = engine(new).learn([views()], 0, 0.1)
    assert set(terms) == {"triplet", "harmonic", "triplets"}
    assert torch.equal(weights(new.old.module), before)
    assert not new.old.module.training
    torch.testing.assert_close(new.eval()(views().images[0]).norm(dim=1), torch.ones(8))
