"""Recipes whose batches hold views, or groups, through the loop: stopped after every step is never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.faces import lay, recipe

from unmask.nouns import UnmaskError
from unmask.train.loop import restore, train

SHORT: dict[str, Any] = {"length": "3 steps", "validate": "3 steps", "save": "1 steps", "transforms": "degrade"}
QAD: dict[str, Any] = {
    "method": "qad",
    "options": {"network": "tiny-resnet", "size": 32, "dependence": 1, "warmup": 2},  # pushed in the third step alone
    "views": [[{"damage": {"kind": "social", "level": 4}}], "none"],
    "sampler": {"name": "by_class"},
}
LSDA: dict[str, Any] = {
    "method": "lsda",
    "options": {"network": "tiny-resnet", "teacher": "tiny-iresnet", "size": 32, "teacher_size": 16, "domains": 1},
    "sampler": {"name": "grouped"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(tmp_path_factory.mktemp("faces"))


@pytest.mark.parametrize("method", [QAD, LSDA], ids=lambda m: m["method"])
def test_it_trains_and_a_stop_changes_nothing(data: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    class StopError(Exception):
        pass

    def once(*_: object) -> None:
        raise StopError

    chosen = recipe(**SHORT | method)
    train(chosen, data, tmp_path / "whole", cpu=True)
    for _ in range(2):
        with pytest.raises(StopError):
            train(chosen, data, tmp_path / "cut", cpu=True, report=once)
    train(chosen, data, tmp_path / "cut", cpu=True)
    one, other = (load_file(tmp_path / run / "last.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert one.keys() == other.keys()
    detector, _ = restore(tmp_path / "whole")
    assert torch.isfinite(detector(torch.rand(2, 3, 32, 32)).logits).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (QAD | {"views": []}, "name them in the recipe, as in views: "),
        (LSDA | {"sampler": {"name": "by_class"}}, r"give the recipe sampler: \{name: grouped\}"),
        (LSDA | {"options": LSDA["options"] | {"domains": 2}}, "a forgery of it of each of 2 kinds"),
    ],
)
def test_a_recipe_without_what_the_method_needs_is_refused(
    data: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnmaskError, match=said):
        train(recipe(**SHORT | change), data, tmp_path / "run", cpu=True)
