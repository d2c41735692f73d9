"""One small loop: batches of pairs in, averaged weights out; the best are chosen on validation, never on a test set."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unmask.bases import Batch, Detector


def fit(
    detector: Detector,
    batches: Iterable[tuple[Tensor, Tensor]],
    validate: Callable[[Detector], dict[str, float]],
    out: Path,
    *,
    steps: int,
    rate: float = 4e-4,
    decay: float = 0.02,
    warmup: int = 150,
    average: float = 0.998,
    every: int = 400,
) -> Path:
    """Train for `steps` batches with AdamW, warm-up and cosine; write metrics.csv, best.safetensors, last.safetensors.

    Args:
        batches: endless (uint8 (B, 3, S, S), labels (B,)).
        validate: the averaged detector -> named numbers; the one called "choose" picks the best, higher being better.
        average: decay of the exponential moving average of weights, which is what is validated and kept.
    Returns: the path of the best weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    trained = [p for p in detector.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: _rate(n, warmup, steps))
    mean = copy.deepcopy(detector).eval()
    best, losses, started = -math.inf, [], time.monotonic()
    stream: Iterator[tuple[Tensor, Tensor]] = iter(batches)
    detector.train()
    for step in range(1, steps + 1):
        pixels, label = next(stream)
        image = pixels.float().div_(255).contiguous(memory_format=torch.channels_last)
        loss = torch.stack(list(detector.loss(Batch(image, label)).values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        schedule.step()
        _follow(mean, detector, min(average, step / (step + 20)))
        losses.append(loss.item())
        if step % every and step != steps:
            continue
        numbers = {"step": step, "minutes": (time.monotonic() - started) / 60, "loss": sum(losses) / len(losses)}
        numbers |= validate(mean)
        losses.clear()
        _record(out / "metrics.csv", numbers)
        print("  ".join(f"{k} {v:.4g}" for k, v in numbers.items()), flush=True)
        save(mean, out / "last.safetensors")
        if numbers["choose"] > best:
            best = numbers["choose"]
            save(mean, out / "best.safetensors")
    return out / "best.safetensors"


def save(detector: Detector, path: Path) -> None:
    """Weights only, in whatever memory format they train in."""
    save_file({name: value.contiguous() for name, value in detector.state_dict().items()}, path)


def restore(detector: Detector, weights: Path) -> Detector:
    """The detector with weights that `fit` wrote, ready to score."""
    detector.load_state_dict(load_file(weights))
    return detector.eval()


def _rate(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def _follow(mean: Detector, detector: Detector, keep: float) -> None:
    for kept, new in zip(mean.state_dict().values(), detector.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - keep)
        else:
            kept.copy_(new)


def _record(path: Path, numbers: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(numbers))
        if new:
            writer.writeheader()
        writer.writerow(numbers)
