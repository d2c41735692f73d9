"""The second net learns: five points by their distance from the teacher's, and faces from what only looks like one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as fn
from torch.utils.data import DataLoader, IterableDataset

from training.face_detector.closeups import Closeups, batch
from training.face_detector.refinement_net import RefineNet
from unmask.faces.align import TEMPLATES
from unmask.faces.refinement import SPEC
from unmask.tasks.settings import Schedule, Span
from unmask.train.optim import Average, rate

Batch = tuple[Tensor, Tensor, Tensor]
NARROW = 0.12  # of the crop's side: eyes that are nearer are those of a face seen from the side


@dataclass(frozen=True)
class Round:
    """A part of the training with a schedule of its own."""

    steps: int
    rate: float  # the highest
    rough: float  # how far views stray from what a scan meets; 1: much farther


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights were trained with: everything that can happen first, then what usually does."""

    rounds: tuple[Round, ...] = (Round(12000, 3e-3, 1.0), Round(4000, 1e-3, 0.5))
    size: int = 64  # views of a batch
    warm_up: int = 200  # steps of each round
    decay: float = 0.02
    memory: float = 0.998  # of the averaged weights
    exact: float = 10.0  # weight of the points beside the faces
    seed: int = 7
    workers: int = 1  # processes that draw views; 0: this one


class Views(IterableDataset[Batch]):
    """The batch of each step, a function of seed and step alone; drawn in a second process while the net learns."""

    def __init__(self, closeups: Closeups, recipe: Recipe, index: int) -> None:
        self.closeups, self.recipe, self.round = closeups, recipe, recipe.rounds[index]
        self.first = sum(earlier.steps for earlier in recipe.rounds[:index])

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        for step in range(self.first, self.first + self.round.steps):
            rng = np.random.default_rng([self.recipe.seed, step])
            yield tensors(*batch(self.closeups, rng, self.recipe.size, self.round.rough))


def tensors(images: np.ndarray, points: np.ndarray, faces: np.ndarray) -> Batch:
    """uint8 (B, H, W, 3) -> uint8 (B, 3, H, W), channels last in memory; the rest as it is."""
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(points), torch.from_numpy(faces)


def terms(said: tuple[Tensor, Tensor], points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of the points of faces in eye distances, and the cross-entropy of face or not."""
    found, logit = said
    eyes = (points[:, 0] - points[:, 1]).norm(dim=1)
    exact = apart(found, points, eyes, NARROW)[faces].mean()
    return exact, fn.binary_cross_entropy_with_logits(logit, faces.float())


def apart(found: Tensor, truth: Tensor, eyes: Tensor, least: float) -> Tensor:
    """Distance of each point from the teacher's, (B, P), in eye distances.

    Args:
        found, truth: (B, P, 2) in 0..1 of the crop; eyes: (B,) their distance.
        least: eye distance below which a face seen from the side counts no more than others.
    """
    # the square root has no gradient at nought, where a perfect point lies
    distance = (found - truth).square().sum(2).add(1e-8).sqrt()
    return distance / eyes.clamp_min(least)[:, None]


def train(closeups: Closeups, held_out: Closeups, recipe: Recipe, checkpoint: Path | None = None) -> RefineNet:
    """The averaged net after all rounds, in evaluation mode; its weights go to `checkpoint` every 500 steps.

    Args:
        held_out: of the validation fold; its errors are printed as training goes on, nothing is chosen by them.
    """
    torch.manual_seed(recipe.seed)
    template = 0.5 + (TEMPLATES[SPEC.template] - 0.5) / np.float32(SPEC.margin)
    net = RefineNet(torch.from_numpy(template))
    for index in range(len(recipe.rounds)):
        net = taught(net, closeups, held_out, recipe, index, checkpoint)
    return net


def taught(
    net: RefineNet, closeups: Closeups, held_out: Closeups, recipe: Recipe, index: int, checkpoint: Path | None = None
) -> RefineNet:
    """One round of `train`, from the net of the one before."""
    part = recipe.rounds[index]
    net = net.to(memory_format=torch.channels_last)
    average = Average(net.state_dict(), recipe.memory)
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": heavy, "weight_decay": recipe.decay}, {"params": light, "weight_decay": 0.0}]
    )
    schedule = Schedule(warmup=Span(count=recipe.warm_up, unit="steps"), floor=part.rate / 100)
    still = tensors(*batch(held_out, np.random.default_rng(0), 1024, part.rough))
    loader = DataLoader(Views(closeups, recipe, index), batch_size=None, num_workers=recipe.workers)
    started, shown = time.perf_counter(), np.zeros(2)
    for step, (images, points, faces) in enumerate(loader):
        for group in optimiser.param_groups:
            group["lr"] = rate(schedule, part.rate, step, part.steps, 1)
        exact, kind = terms(net.train()(images.float()), points, faces)
        optimiser.zero_grad(set_to_none=True)
        (recipe.exact * exact + kind).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.follow(net.state_dict())
        shown += float(exact.detach()), float(kind.detach())
        if step % 500 == 499:
            said = "  ".join(
                f"{a / 500:.4f} (held out {b:.4f})" for a, b in zip(shown, held(average, still), strict=True)
            )
            spent = time.perf_counter() - started
            print(f"round {index + 1} step {step + 1}  {spent:.0f} s  points, faces {said}", flush=True)
            shown[:] = 0
        if checkpoint is not None and (step % 500 == 499 or step + 1 == part.steps):
            save_file({name: value.contiguous() for name, value in average.mean.items()}, checkpoint)
    return averaged(average)


def averaged(average: Average) -> RefineNet:
    net = RefineNet()
    net.load_state_dict(average.mean)
    return net.eval()


@torch.no_grad()
def held(average: Average, still: Batch) -> tuple[float, float]:
    """Both terms on fixed views of the validation fold, as hard as training's own."""
    images, points, faces = still
    exact, kind = terms(averaged(average)(images.float()), points, faces)
    return float(exact), float(kind)
