"""Recipes whose batches hold views, or groups, through the loop: stopped after every step is never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.faces import recipe
from tests.train.runs import stopped, unlike
from unmask.train.loop import restore, train
from unmask.types import UnmaskError

SHORT: dict[str, Any] = {"length": "3 steps", "validate": "3 steps", "save": "1 steps", "transforms": "degrade"}
QAD: dict[str, Any] = {
    "method": "qad",
    "options": {"network": "tiny-resnet", "size": 32, "dependence": 1, "warmup": 2},  # pushed in the third step alone
    "views": [[{"corruption": {"kind": "social", "level": 4}}], "none"],
    "sampler": {"name": "by_class"},
}
LSDA: dict[str, Any] = {
    "method": "lsda",
    "options": {"network": "tiny-resnet", "teacher": "tiny-iresnet", "size": 32, "teacher_size": 16, "domains": 1},
    "sampler": {"name": "grouped"},
}


@pytest.mark.parametrize("method", [QAD, LSDA], ids=lambda m: m["method"])
def test_it_trains_and_a_stop_changes_nothing(data: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    chosen = recipe(**SHORT | method)
    train(chosen, data, tmp_path / "whole", cpu=True)
    stopped(chosen, data, tmp_path / "cut", times=2)
    assert not unlike(tmp_path / "whole" / "last.safetensors", tmp_path / "cut" / "last.safetensors")
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
