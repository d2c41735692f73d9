"""What the small checks of detectors share: a short training, AUROC, and runs that a stopped script takes up again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from scipy import stats
from torch import Tensor

from unmask.base.detector import Batch, Detector
from unmask.measure.metrics import auroc
from unmask.tasks.recipe import Recipe
from unmask.train.engine import Engine

Answer = Callable[[Detector, Tensor], Tensor]


def train(detector: Detector, draw: Callable[[], Batch], steps: int, lr: float = 2e-3) -> None:
    """By the method's own step, with AdamW at a constant rate."""
    told = {"name": "check", "method": "any", "length": f"{steps} steps", "optimizer": {"lr": lr}, "clip": 5.0}
    engine = Engine(detector, Recipe.model_validate(told), Accelerator(cpu=True), steps=steps)
    for step in range(steps):
        engine.learn([draw()], step, lr)
    detector.eval()


def answers(detector: Detector, image: Tensor, answer: Answer | None = None) -> Tensor:
    with torch.inference_mode():
        parts = [answer(detector, part) if answer else detector(part).logits for part in image.split(64)]
    return torch.cat(parts)


def auroc_of(logits: Tensor, label: Tensor) -> float:
    return auroc(label.numpy(), (logits[:, 1] - logits[:, 0]).double().numpy())


def held(path: Path, key: str, run: Callable[[], float]) -> float:
    """The number under `key` in a file of results, measured where it is not there yet."""
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if key not in found:
        found[key] = run()
        path.write_text(json.dumps(found, indent=1), "utf-8")
        print(key, f"{found[key]:.3f}", flush=True)
    return float(found[key])


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval (Student's t) over seeds."""
    x = np.array(values)
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
    return f"{x.mean():+.3f} [{x.mean() - half:+.3f}, {x.mean() + half:+.3f}]"


def mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def page(path: Path, title: str, said: str, command: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows]]
    path.write_text(f"# {title}\n\n{said.strip()}\n\nRebuild: `{command}`\n\n" + "\n".join(lines) + "\n", "utf-8")
