"""Recipes: what is written is what is meant, or an error that names the nearest right thing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import REPOSITORY
from unmask.data import datasets
from unmask.tasks import task
from unmask.tasks.recipe import RECIPES, Recipe, load
from unmask.tasks.selection import transform
from unmask.tasks.settings import AdvScm, Data, Difficulty, Optimizer, Sampler, Schedule, Span, View, Words
from unmask.train.loop import create
from unmask.train.optim import Average, Sharpness, optimizer, rate
from unmask.types import UnmaskError

SHIPPED = sorted((REPOSITORY / "recipes").rglob("*.yaml"))
LEAST = "name: a\nmethod: gend\nlength: 2 epochs\noptimizer: {lr: 1e-3}\n"


def written(folder: Path, text: str = LEAST) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_recipe_fits_and_builds(path: Path) -> None:
    recipe = load(path, ["start=null"])
    assert recipe.name == path.stem
    if recipe.method in ("arcface", "simlap"):  # the task counts the classes in the rows
        recipe = load(path, ["start=null", "options.classes=8"])
    with torch.device("meta"):  # the large ones would take gigabytes
        method = task(recipe).build(recipe)
    assert optimizer(recipe.optimizer, method).param_groups
    views = [view.transforms if isinstance(view, View) else view for view in getattr(recipe, "views", ())]
    for steps in (recipe.transforms, *views):
        transform(steps)


def test_shipped_recipes_name_data_sets_as_their_adapters_do() -> None:
    for recipe in map(load, SHIPPED):
        assert set(recipe.data.train.dataset + recipe.data.validate_.dataset) <= set(datasets.names())


def test_what_ships() -> None:
    assert {p.stem for p in SHIPPED} >= {"gend-clip-l14", "clip-ln-paper1", "gend-tiny", "mobilenet-tiny"}


def test_both_papers_settings() -> None:
    gend, paper1 = (load(REPOSITORY / "recipes" / f"{n}.yaml") for n in ("gend-clip-l14", "clip-ln-paper1"))
    per_epoch = 100
    for step, lr in ((0, 1e-5), (50, 1.55e-4), (100, 3e-4), (600, 1.55e-4), (1099, 1e-5), (1100, 3e-4)):
        found = rate(gend.schedule, gend.optimizer.lr, step, gend.length.steps(per_epoch), per_epoch)
        assert found == pytest.approx(lr, rel=2e-3)
    for step, lr in ((0, 8e-5), (500, 6.5e-5), (999, 5e-5)):  # cosine, no warm-up
        found = rate(paper1.schedule, paper1.optimizer.lr, step, paper1.length.steps(per_epoch), per_epoch)
        assert found == pytest.approx(lr, rel=1e-5)
    for recipe in (gend, paper1):
        assert (recipe.batch, recipe.optimizer.weight_decay, recipe.precision) == (128, 0, "bf16")
    assert gend.options.items() >= {"uniform": 0.5, "align": 0.1, "mix": "none"}.items()
    assert paper1.options["mix"] == "class"


def test_values_on_the_command_line_are_yaml(tmp_path: Path) -> None:
    changes = ["optimizer.lr=2e-4", "options.adaptation=lora", "data.train.dataset=[a, b]", "ema=0.9", "seed=3"]
    recipe = load(written(tmp_path), [*changes, "schedule.warmup=3 steps", "name=b.c"])
    assert recipe.optimizer.lr == 2e-4
    assert recipe.data.train.dataset == ("a", "b")
    assert recipe.data.train.split == ("train",)  # a filter on one column opens no other split
    assert (recipe.ema, recipe.seed, recipe.name, recipe.options) == (0.9, 3, "b.c", {"adaptation": "lora"})
    assert recipe.schedule.warmup == Span(count=3, unit="steps")
    assert Recipe.model_validate(yaml.safe_load(recipe.as_yaml())) == recipe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimiser.lr=1", "unknown key 'optimiser', did you mean 'optimizer'?"),
        ("optimizer.momentm=1", "unknown key 'optimizer.momentm', did you mean 'momentum'?"),
        ("data.validate.splits=[val]", "unknown key 'data.validate.splits', did you mean 'split'?"),
        ("data.test=1", "unknown key 'data.test', known are train, validate, leave_out, frames, pick"),
        (
            "sampler.name=pairs",
            "sampler.name: Input should be 'shuffled', 'by_class', 'by_method', 'by_domain', 'paired', 'grouped' or ",
        ),
        ("length=3", 'length: a length is written "3 epochs" or "500 steps"'),
        ("length=3 weeks", 'length: a length is written "3 epochs" or "500 steps"'),
        ("schedule.name=restarts", "schedule: give a period exactly when the schedule is restarts"),
        ("best=test_auroc", "best: Input should be 'video_auroc'"),
        ("name.first=b", "'name.first=b': name holds a value, not keys"),
        ("seed", "'seed' changes no key of a recipe: write dotted.key=value"),
        ("seed=[", "the value of 'seed=[' is no YAML"),
        ("batch=0", "batch: Input should be greater than or equal to 1"),
        ("ema=1", "ema: Input should be less than 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(UnmaskError) as error:
        load(written(tmp_path), [change])
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["- 1", "", "a: [", "\x00"])
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnmaskError, match=r"recipe\.yaml"):
        load(written(tmp_path, text))


def test_options_of_the_method_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="gend has no option 'adaption'; did you mean 'adaptation'"):
        create(load(written(tmp_path), ["options.adaption=ln"]))


def test_schedules_by_hand() -> None:
    warm = Schedule(name="constant", warmup="4 steps", warmup_from=1.0)  # type: ignore[arg-type]
    assert [rate(warm, 3.0, n, 10, 5) for n in range(6)] == [1.0, 1.5, 2.0, 2.5, 3.0, 3.0]
    half = Schedule(name="cosine", warmup="1 epoch", floor=1.0)  # type: ignore[arg-type]
    assert rate(half, 3.0, 10, 15, 5) == pytest.approx(2.0)  # in the middle of steps 5..15
    again = Schedule(name="restarts", period="2 epochs", floor=0.0)  # type: ignore[arg-type]
    assert [rate(again, 1.0, n, 100, 2) for n in (0, 2, 4, 6)] == pytest.approx([1, 0.5, 1, 0.5])


def test_each_optimiser_moves_a_weight_as_its_formula_says() -> None:
    for name, moved in (("sgd", 1 - 0.1 * (2 + 0.5)), ("adam", 1 - 0.1), ("adamw", 1 * (1 - 0.1 * 0.5) - 0.1)):
        module = torch.nn.Module()
        module.weight = weight = torch.nn.Parameter(torch.ones(1))
        moving = optimizer(Optimizer(name=name, lr=0.1, weight_decay=0.5), module)  # type: ignore[arg-type]
        weight.grad = torch.full((1,), 2.0)
        moving.step()  # Adam's first step is lr * sign; Adam adds decay to the gradient, AdamW shrinks the weight
        assert weight.item() == pytest.approx(moved, rel=1e-5)


def test_the_average_by_hand() -> None:
    state = {"w": torch.tensor([1.0]), "n": torch.tensor(1)}
    average = Average(state, 0.2)
    state["w"].fill_(3.0)
    state["n"].fill_(7)
    average.follow(state)  # d = min(0.2, 1 / 10): 0.1 * 1 + 0.9 * 3
    assert average.mean["w"].item() == pytest.approx(2.8)
    average.follow(state)  # d = min(0.2, 2 / 11) = 0.1818
    assert average.mean["w"].item() == pytest.approx(2.8 * 2 / 11 + 3 * 9 / 11)
    assert average.mean["n"].item() == 7


def test_sharpness_climbs_rho_along_the_gradient_and_comes_back_exactly() -> None:
    weights = [torch.nn.Parameter(torch.tensor([0.1, 0.2])), torch.nn.Parameter(torch.tensor([0.3]))]
    for w, g in zip(weights, ([3.0, 0.0], [4.0]), strict=True):
        w.grad = torch.tensor(g)
    sharp = Sharpness(weights, rho=0.5)
    sharp.climb()  # the norm over both is 5
    torch.testing.assert_close(weights[0].data, torch.tensor([0.4, 0.2]))
    torch.testing.assert_close(weights[1].data, torch.tensor([0.7]))
    assert all(w.grad is None for w in weights)
    sharp.back()
    assert torch.equal(weights[0], torch.tensor([0.1, 0.2]))
    assert torch.equal(weights[1], torch.tensor([0.3]))


def test_the_page_lists_every_key() -> None:
    page = (REPOSITORY / "docs" / "train.md").read_text("utf-8")
    inner = {"data": Data, "sampler": Sampler, "optimizer": Optimizer, "schedule": Schedule, "card": Words}
    inner |= {"difficulty": Difficulty, "adv_scm": AdvScm}
    for key, part in View.model_fields.items():
        assert f"`views.{part.alias or key}`" in page or f"`.{key}`" in page, key
    fields = [item for kind in RECIPES.values() for item in kind.model_fields.items()]
    for name, field in fields:
        assert f"`{field.alias or name}" in page, name
        for key, part in inner[name].model_fields.items() if name in inner else ():
            assert any(f"`{before}{part.alias or key}`" in page for before in (f"{name}.", ".", "")), (name, key)


@pytest.mark.parametrize("sampler", ["{name: by_class, orphans: true}", "{name: paired, every: real, orphans: true}"])
def test_orphans_go_with_pairs_of_each_forgery(tmp_path: Path, sampler: str) -> None:
    with pytest.raises(UnmaskError, match="orphans go with the sampler paired"):
        load(written(tmp_path, f"{LEAST}sampler: {sampler}\n"))
