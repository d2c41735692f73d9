"""Pre-training through the loop: teachers and queues survive a kill, on one process and on two."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import REPOSITORY
from tests.train.runs import ALONE, command, rows, unlike
from unmask.registry import FAMILIES
from unmask.tasks.recipe import Recipe
from unmask.train.loop import restored, train
from unmask.types import UnmaskError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The toy installed as a package of its own would be. Gives the environment of processes that know it too."""
    folder = tmp_path_factory.mktemp("installed")
    about = folder / "momentum_toy-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: momentum-toy\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[unmask.objectives]\nmomentum_toy = tests.train.momentum_toy\n")
    sys.path.insert(0, str(folder))
    FAMILIES["objective"].__dict__.pop("_modules", None)
    path = os.pathsep.join([str(folder), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    yield {**ALONE, "PYTHONPATH": path}
    sys.path.remove(str(folder))
    FAMILIES["objective"].__dict__.pop("_modules", None)


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "task": "pretraining",
        "name": "toy",
        "method": "momentum_toy",
        "batch": 8,
        "length": "8 steps",
        "validate": "2 steps",
        "save": "1 step",
        "optimizer": {"name": "lars", "lr": 1.0, "weight_decay": 1e-4},
        "views": [{"size": 24}],
    }
    return Recipe.model_validate(values | changes)


def killed(chosen: Recipe, data: Path, out: Path, env: dict[str, str], processes: int) -> None:
    """Start it, and kill all of its processes at once somewhere after its first checkpoint."""
    asked = command(chosen, data, out, processes=processes)
    process = subprocess.Popen(asked, env=env, start_new_session=True)
    while process.poll() is None and not (out / "last.safetensors").is_file():
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def in_processes(chosen: Recipe, data: Path, out: Path, env: dict[str, str]) -> None:
    asked = command(chosen, data, out, processes=2)
    done = subprocess.run(asked, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
def test_a_killed_run_goes_on_bitwise_with_its_teacher_and_queue(
    data: Path, tmp_path: Path, toy: dict[str, str]
) -> None:
    chosen, whole, cut = recipe(ema=0.5), tmp_path / "whole", tmp_path / "cut"
    train(chosen, data, whole, cpu=True)
    killed(chosen, data, cut, toy, processes=0)
    train(chosen, data, cut, cpu=True)
    assert rows(cut) == rows(whole)
    for name in ("best.safetensors", "last.safetensors"):
        assert not unlike(whole / name, cut / name), name
    held = load_file(whole / "last.safetensors")
    assert held["model.queue.pushed"].item() == 16 + 8 * 8  # the start, and eight batches of eight
    assert not torch.equal(held["model.teacher.module.3.weight"], held["model.student.3.weight"])


def test_the_restored_teacher_is_the_trained_one(data: Path, tmp_path: Path, toy: dict[str, str]) -> None:
    chosen = recipe(length="2 steps")  # one validation: best and last are one moment
    train(chosen, data, tmp_path / "run", cpu=True)
    method, _ = restored(tmp_path / "run")
    held, own = load_file(tmp_path / "run" / "last.safetensors"), method.state_dict()
    assert {n for n in own if torch.equal(own[n], held[f"model.{n}"])} == own.keys()
    torch.manual_seed(0)
    fresh = FAMILIES["objective"].create("momentum_toy")
    assert not torch.equal(own["teacher.module.3.weight"], fresh.teacher.module[3].weight)


@pytest.mark.slow
def test_two_processes_killed_and_resumed_are_unbroken(data: Path, tmp_path: Path, toy: dict[str, str]) -> None:
    chosen, whole, cut = recipe(), tmp_path / "whole", tmp_path / "cut"
    in_processes(chosen, data, whole, toy)
    killed(chosen, data, cut, toy, processes=2)
    in_processes(chosen, data, cut, toy)
    assert rows(cut) == rows(whole)
    for name in ("best.safetensors", "last.safetensors"):
        assert not unlike(whole / name, cut / name), name
    assert load_file(whole / "last.safetensors")["model.queue.pushed"].item() == 16 + 8 * 8  # rows of both


def test_what_validation_says(data: Path, tmp_path: Path, toy: dict[str, str]) -> None:
    train(recipe(length="2 steps", best="knn"), data, tmp_path / "run", cpu=True)
    (row,) = rows(tmp_path / "run")
    numbers = {k: v for k, v in row.items() if k.startswith("val_")}
    assert numbers.keys() == {
        f"val_{n}" for n in ("loss", "knn", "linear", "uniformity", "effective_rank", "spread", "alignment")
    }
    assert 0 <= numbers["val_knn"] <= 1
    assert 1 <= numbers["val_effective_rank"] <= 8
    assert numbers["val_uniformity"] < 0


def test_a_recipe_of_pretraining_says_what_does_not_fit(data: Path, tmp_path: Path, toy: dict[str, str]) -> None:
    for change, said in (
        ({"sampler": {"name": "paired"}}, "sampler.name 'paired' pairs real and forged rows"),
        ({"views": [{"transforms": [{"flip": {}}]}]}, "flip in a view moves pixels"),
        ({"best": "verification_auroc"}, "best: verification_auroc cannot be measured on these validation rows"),
        ({"data": {"train": {"split": ["test"]}}}, r"data\.train leaves 0 rows"),
    ):
        with pytest.raises(UnmaskError, match=said):
            train(recipe(length="1 steps", **change), data, tmp_path / said[:6], cpu=True)
