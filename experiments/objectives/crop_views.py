"""Crops of a face manifest in memory, random views of them with their boxes, and a plain training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.data.loader import FaceSet
from unmask.measure.protocol import Where
from unmask.types import InputSpec

COLUMNS = ("label", "dataset", "compression", "media_type", "split", "method", "family")
Batch = Callable[[Tensor], Views]


def crops(
    manifest: Path, size: int, count: int | None, seed: int = 0, label: int | None = None, **where: str
) -> Tensor:
    """uint8 (N, 3, size, size) of random rows, at most `count`; `where`: columns and the value that each must have."""
    faces = FaceSet(manifest, InputSpec(size=size, margin=1.3))
    chosen = Where.model_validate({k: (v,) for k, v in where.items()}).mask(faces.manifest.table(COLUMNS))[faces.row]
    places = np.flatnonzero(chosen & (faces.label == label if label is not None else True))
    places = np.random.default_rng(seed).permutation(places)[:count]
    return torch.stack([torch.from_numpy(faces[int(i)].image).permute(2, 0, 1) for i in places])


def boxes(count: int, least: float = 0.3, flip: bool = True) -> Tensor:
    """(N, 4) of square crops that cover `least` to all of the image; half of them mirrored."""
    side = (least + (1 - least) * torch.rand(count, 1)).sqrt()
    low = torch.rand(count, 2) * (1 - side)
    box = torch.cat([low, low + side], 1)
    mirrored = (torch.rand(count, 1) < 0.5) & flip
    return torch.where(mirrored, box[:, [2, 1, 0, 3]], box)


def cropped(image: Tensor, box: Tensor, size: int) -> Tensor:
    """(B, 3, S, S) in 0..1 and boxes (B, 4) in 0..1 of it -> (B, 3, size, size)."""
    centre, half = (box[:, :2] + box[:, 2:]) - 1, box[:, 2:] - box[:, :2]
    matrix = torch.stack([F.pad(half[:, :1], (0, 1)), F.pad(half[:, 1:], (1, 0))], 1)
    grid = F.affine_grid(torch.cat([matrix, centre[..., None]], 2), [len(image), 3, size, size], align_corners=False)
    return F.grid_sample(image, grid, align_corners=False, padding_mode="border")


def coloured(image: Tensor) -> Tensor:
    """Each image brighter or darker, of more or less contrast, and now and then grey."""
    gain, shift = 0.6 + 0.8 * torch.rand(len(image), 3, 1, 1), 0.2 * torch.rand(len(image), 1, 1, 1) - 0.1
    changed = (image * gain + shift).clamp(0, 1)
    grey = torch.rand(len(image), 1, 1, 1) < 0.2
    return torch.where(grey, changed.mean(1, keepdim=True).expand_as(changed), changed)


def two_crops(size: int) -> Batch:
    def batch(image: Tensor) -> Views:
        both = [boxes(len(image)) for _ in range(2)]
        views = tuple(coloured(cropped(image, box, size)) for box in both)
        none = torch.full((len(image),), -1)
        return Views(views, tuple(both), torch.arange(len(image)), none)

    return batch


def as_it_is(image: Tensor) -> Views:
    whole = torch.tensor([0.0, 0, 1, 1]).expand(len(image), -1)
    return Views((image,), (whole,), torch.arange(len(image)), torch.full((len(image),), -1))


class Engine:
    """What `Objective.step` needs of a training loop, and no more."""

    def __init__(self, objective: Objective, lr: float, steps: int) -> None:
        self.step, self.steps, self.per_epoch = 0, steps, steps
        weights = [p for p in objective.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr, weight_decay=0.02)
        warm = max(1, steps // 20)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda k: min((k + 1) / warm, 0.5 + 0.5 * float(np.cos(np.pi * k / steps)))
        )

    @property
    def done(self) -> float:
        return self.step / self.steps

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def update(self) -> bool:
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.step += 1
        return True

    def gather(self, x: Tensor) -> Tensor:
        return x


def pretrain(objective: Objective, images: Tensor, batch: Batch, size: int, steps: int, lr: float) -> dict[str, float]:
    """`steps` steps of `size` random images. Returns: the mean terms of the last tenth."""
    engine, last = Engine(objective, lr, steps), []
    objective.train()
    for _ in range(steps):
        rows = torch.randint(len(images), (size,))
        terms = objective.step(batch(images[rows].float() / 255), engine)
        last.append({name: term.item() for name, term in terms.items()})
    tail = last[-max(1, steps // 10) :]
    objective.eval()
    return {name: sum(t[name] for t in tail) / len(tail) for name in tail[0]}
