"""What every objective promises, whichever it is: a new file in `unmask.objectives` is tested without a line here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from unmask.base.method import roles
from unmask.base.objective import Objective, Views
from unmask.errors import InputError, UnmaskError
from unmask.measure import embeddings
from unmask.registry import FAMILIES
from unmask.tasks.recipe import Recipe
from unmask.train.checkpoint import load, save
from unmask.train.engine import Engine

FAMILY = FAMILIES["objective"]
SLOW = {"feature_distillation"}  # its teacher wants 256 pixels
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FAMILY.names()]
pytestmark = [pytest.mark.parametrize("name", NAMES), pytest.mark.usefixtures("one_thread")]
ROWS, STEPS = 8, 4
SAID = (
    "a red circle",
    "two blue squares",
    "a green cross at the top",
    "three boats",
    "an edge",
    "no seam",
    "a dog",
    "it rains",
)


def create(name: str) -> Objective:
    torch.manual_seed(0)
    objective: Objective = FAMILY.create(name, FAMILY.card(name).small)
    return objective


def batch(objective: Objective, seed: int = 1) -> Views:
    """Two views of eight images, four classes, as random crops of smooth images would be; real and fake where classes
    must be two. And three views of eight sentences, which an objective of images alone does not look at."""
    generator = torch.Generator().manual_seed(seed)
    side = objective.input.size
    coarse = torch.rand(ROWS, 3, 4, 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    views = tuple((image + 0.05 * torch.randn(image.shape, generator=generator)).clamp(0, 1) for _ in range(2))
    boxes = tuple(torch.tensor([0.0, 0.0, 0.8, 0.8]).repeat(ROWS, 1) + 0.1 * n for n in range(2))
    label = torch.arange(ROWS) % 4
    said = tuple(f"{text} , {seed}" for text in SAID)
    texts = (said, tuple(f"here {text}" for text in said), tuple(f"not {text}" for text in said))
    try:
        objective.loss(Views(views, boxes, torch.arange(ROWS), label, texts=texts))
    except UnmaskError:
        label = label % 2
    return Views(views, boxes, torch.arange(ROWS), label, texts=texts)


def engine(objective: Objective, steps: int = STEPS) -> Engine:
    recipe = Recipe.model_validate(
        {"name": "eight", "method": "any", "task": "pretraining", "length": "1 epoch", "optimizer": {"lr": 2e-3}}
    )
    return Engine(objective, recipe, Accelerator(cpu=True), steps=steps, per_epoch=2)


def total(terms: dict[str, Tensor]) -> float:
    return sum(float(value) for value in terms.values())


def test_the_loss_falls_and_what_trains_moves_and_what_is_frozen_stays(name: str) -> None:
    given = batch(create(name))
    objective = create(name)
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    run = engine(objective, 16)
    losses = [total(run.learn([given], n, 2e-3)) for n in range(16)]
    # MoCo's queue starts random and so easy: its loss rises until the queue holds real keys.
    assert min(losses[-3:]) < (max(losses) if name == "moco" else losses[0])
    own = roles(objective)
    moved = {k for k, v in objective.state_dict().items() if not torch.equal(v, before[k])}
    assert {k for k, role in own.items() if role == "trained"} <= moved
    assert not {k for k, role in own.items() if role == "frozen"} & moved


def test_stopped_and_resumed_is_unbroken(name: str, tmp_path: Path) -> None:
    """Bitwise, teachers and queues too: all that the next step needs goes through the file."""
    given = [batch(create(name), seed) for seed in range(STEPS)]
    whole = engine(create(name))
    for n in range(STEPS):
        whole.learn([given[n]], n, 1e-3)
    first = engine(create(name))
    for n in range(2):
        first.learn([given[n]], n, 1e-3)
    held, facts = first.saved()
    save(tmp_path / "last.safetensors", held, facts)
    torch.manual_seed(99)  # other random weights: what is not in the file would differ
    other: Objective = FAMILY.create(name, FAMILY.card(name).small)
    frozen = {k for k, role in roles(other).items() if role == "frozen"}
    for k, value in other.state_dict().items():
        if k in frozen:
            value.copy_(first.method.state_dict()[k])
    second = engine(other)
    second.restore(*load(tmp_path / "last.safetensors"), "last")
    for n in range(2, STEPS):
        second.learn([given[n]], n, 1e-3)
    for key, value in whole.state.items():
        assert torch.equal(value, second.state[key]), key


def test_embeddings_are_checked_and_do_not_depend_on_neighbours(name: str) -> None:
    objective = create(name).eval()
    given = batch(objective)
    image, text = given.images[0], given.texts[0]
    if "image" in objective.modalities:
        unlike_neighbours(objective(image), [objective(i) for i in image.split(1)])
        for wrong in (image[0], image.repeat(1, 2, 1, 1), (image * 255).byte()):
            with pytest.raises(InputError, match="images are float tensors"):
                objective(wrong)
    if "text" in objective.modalities:
        unlike_neighbours(objective(text), [objective([t]) for t in text])
    else:
        with pytest.raises(InputError):
            objective(text)


def unlike_neighbours(together: Tensor, apart: list[Tensor]) -> None:
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-4, rtol=1e-4)
    assert together.shape[0] == ROWS


def test_a_constant_encoder_is_noticed(name: str) -> None:
    """Health numbers of validation tell a collapsed encoder from this one."""
    objective = create(name).eval()
    given = batch(objective)
    with torch.no_grad():
        found = objective(given.images[0] if "image" in objective.modalities else given.texts[0])
    z = found.double().numpy()
    flat = z[:1].repeat(ROWS, 0)
    assert embeddings.effective_rank(flat) < 1 <= embeddings.effective_rank(z)
    assert embeddings.uniformity(flat) == pytest.approx(0, abs=1e-9)
    assert embeddings.uniformity(z) < -1e-9
