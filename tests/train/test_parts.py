"""Difficulty boosting and AdvSCM in the loop: resumed bitwise, the same in two processes, and out of the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.train.faces import recipe
from tests.train.runs import in_processes, rows, stopped, unlike
from unmask.base.detector import Batch, Detector
from unmask.registry import FAMILIES
from unmask.train import callbacks
from unmask.train.engine import Engine
from unmask.train.loop import train
from unmask.types import UnmaskError

pytestmark = pytest.mark.usefixtures("one_thread")
PARTS: dict[str, Any] = {"difficulty": {"ramp": 0.0, "momentum": 0.7}, "adv_scm": {"lr": 1e-3}}
ALONE_LOSS = {"backbone": "tiny-dinov2", "adaptation": "ln", "uniform": 0, "align": 0}  # a mean over images


@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "batch": 4, "sam": 0.05, "ema": 0.5}], ids=["plain", "odd"])
def test_stopped_after_every_step_is_never_stopped(data: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    chosen = recipe(length="4 steps", validate="2 steps", save="1 step", **PARTS, **more)
    train(chosen, data, tmp_path / "whole", cpu=True)
    stopped(chosen, data, tmp_path / "cut", times=3)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    last = tmp_path / "whole" / "last.safetensors"
    assert not unlike(last, tmp_path / "cut" / "last.safetensors")
    held = load_file(last)
    assert (held["difficulty.rows"] < 1).any()
    assert held["adv_scm.optimizer.0.step"].item() == 4
    found = rows(tmp_path / "whole")[0]
    assert {"train_cls", "train_cls_moved", "train_consistency", "train_reach", "train_difficulty"} <= found.keys()
    assert "adv_scm.model.head.weight" not in load_file(tmp_path / "whole" / "best.safetensors")


@pytest.mark.slow
def test_two_processes_are_one(data: Path, tmp_path: Path) -> None:
    chosen = recipe(options=ALONE_LOSS, sampler={"name": "by_class"}, batch=12, length="1 epochs", **PARTS)
    in_processes(chosen, data, tmp_path / "two")
    train(chosen, data, tmp_path / "one", cpu=True)
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 1
    for a, b in zip(one, two, strict=True):
        assert {k: v for k, v in a.items() if k != "train_weight_most"} == pytest.approx(
            {k: v for k, v in b.items() if k != "train_weight_most"}, rel=1e-4, abs=1e-6
        )  # each process knows its own largest weight
    held = [load_file(tmp_path / name / "last.safetensors")["difficulty.rows"] for name in ("one", "two")]
    torch.testing.assert_close(held[0], held[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", FAMILIES["detector"].names())
def test_every_detector_takes_it_or_says_why_not(name: str, part: str) -> None:
    torch.manual_seed(0)
    detector: Detector = FAMILIES["detector"].create(name, FAMILIES["detector"].card(name).small)
    label = torch.arange(4) % len(detector.classes)
    spec = detector.input
    axes = (3,) if spec.frames == 1 else (spec.frames, 3)
    image = torch.rand(4, *axes, spec.size, spec.size)
    batch = Batch(image, label, group=label, pair=torch.full_like(label, -1), method=label, index=torch.arange(4))
    try:
        chosen, alone = recipe(**{part: PARTS[part]}), Accelerator(cpu=True)
        rules = callbacks.chosen(chosen, detector, alone, rows=4, steps=2)
        engine = Engine(detector, chosen, alone, steps=2, callbacks=rules)
        terms = [engine.learn([batch], step, 1e-3) for step in range(2)]
    except UnmaskError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        lacks = ("method", "views", "set ", "leave it out")
        assert any(word in refused for word in lacks), refused  # said before anything is learnt
        return
    assert all(torch.isfinite(value) for of_step in terms for value in of_step.values())
    assert {"difficulty": "weight_most", "adv_scm": "consistency"}[part] in terms[0]
