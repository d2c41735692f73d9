"""One command from images to `landmarker.onnx`: label with the teacher, train, export, measure.

python -m training.landmarker --data DIR --teacher face_landmark.tflite --out DIR
python -m training.landmarker --data DIR --teacher face_landmark.tflite --out DIR --evaluate
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from training.face_detector.refine import apart
from training.landmarker.evaluate import describe, evaluate
from training.landmarker.net import LandmarkNet, export
from training.landmarker.sources import Faces, label, restore
from training.landmarker.teacher import Teacher
from training.landmarker.views import batch, mean_shape
from unmask.data.manifest import Split
from unmask.faces import FaceDetector
from unmask.faces.regions import LEFT_EYE, RIGHT_EYE
from unmask.tasks.settings import Schedule, Span
from unmask.train.optim import Average, rate


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights were trained with."""

    steps: int = 15000
    size: int = 32  # views of a batch
    rate: float = 2e-3
    warm_up: int = 200
    decay: float = 0.02
    memory: float = 0.998  # of the averaged weights
    seed: int = 3

    def words(self) -> str:
        return (
            f"{self.steps:,} steps of {self.size} views from random values: "
            f"python -m training.landmarker --steps {self.steps} --seed {self.seed}"
        )


def error(found: Tensor, truth: Tensor, least: float = 0.15) -> Tensor:
    """Distance of each point from the teacher's, (B, 81), in eye distances.

    Args:
        found, truth: (B, 81, 2) in 0..1 of the crop.
        least: eye distance, in sides of the crop, below which a face seen from the side counts no more than others.
    """
    eyes = (truth[:, list(RIGHT_EYE)].mean(1) - truth[:, list(LEFT_EYE)].mean(1)).norm(dim=1)
    return apart(found, truth, eyes, least)


def views(faces: Faces, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """The batch of each step, a function of seed and step alone."""
    for step in range(recipe.steps):
        image, points = batch(faces, np.random.default_rng([recipe.seed, step]), recipe.size)
        yield tensor(image), torch.from_numpy(points)


def tensor(image: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W), channels last in memory."""
    return torch.from_numpy(image).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


def train(faces: Faces, held_out: Faces, recipe: Recipe, checkpoint: Path | None = None) -> LandmarkNet:
    """The averaged net after `recipe.steps` steps, in evaluation mode; its weights go to `checkpoint` every 500 steps.

    Args:
        held_out: people whose error is printed as training goes on; nothing is chosen by it.
    """
    torch.manual_seed(recipe.seed)
    net = LandmarkNet(torch.from_numpy(mean_shape(faces))).to(memory_format=torch.channels_last)
    average = Average(net.state_dict(), recipe.memory)
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": heavy, "weight_decay": recipe.decay}, {"params": light, "weight_decay": 0.0}]
    )
    schedule = Schedule(warmup=Span(count=recipe.warm_up, unit="steps"), floor=recipe.rate / 100)
    still = batch(held_out, np.random.default_rng(0), 512)
    started, shown = time.perf_counter(), 0.0
    for step, (image, truth) in enumerate(views(faces, recipe)):
        for group in optimiser.param_groups:
            group["lr"] = rate(schedule, recipe.rate, step, recipe.steps, 1)
        loss = error(net.train()(image), truth).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average.follow(net.state_dict())
        shown += float(loss.detach())
        if step % 250 == 249:
            said = held(average, still)
            spent = time.perf_counter() - started
            print(f"step {step + 1}  {spent:.0f} s  train {shown / 250:.4f}  held out {said:.4f}", flush=True)
            shown = 0.0
        if checkpoint is not None and (step % 500 == 499 or step + 1 == recipe.steps):
            save_file({name: value.contiguous() for name, value in average.mean.items()}, checkpoint)
    return averaged(average)


def averaged(average: Average) -> LandmarkNet:
    net = LandmarkNet()
    net.load_state_dict(average.mean)
    return net.eval()


@torch.no_grad()
def held(average: Average, still: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean error on fixed views of people that training does not see, as hard as its own."""
    image, truth = still
    return float(error(averaged(average)(tensor(image)), torch.from_numpy(truth)).mean())


def faces_of(split: Split, arguments: argparse.Namespace) -> Faces:
    """From the cache beside the results if it is there."""
    cache: Path = arguments.out / split
    if not (cache / "points.npz").is_file():
        label(arguments.data, split, Teacher(arguments.teacher), FaceDetector.load(), cache)
    return restore(cache)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.landmarker", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the research collection, with MANIFEST.csv.gz")
    parser.add_argument("--teacher", type=Path, required=True, help="MediaPipe's face_landmark.tflite, 468 points")
    parser.add_argument("--out", type=Path, required=True, help="labels, checkpoint, landmarker.onnx and .json go here")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--evaluate", action="store_true", help="only measure the landmarker.onnx that is in --out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    weights = arguments.out / "landmarker.onnx"
    recipe = Recipe(steps=arguments.steps, seed=arguments.seed)
    if not arguments.evaluate:
        faces = faces_of("train", arguments)
        net = train(faces, faces_of("val", arguments), recipe, weights.with_suffix(".safetensors"))
        export(net, weights)
        describe(weights, recipe.words())
    evaluate(weights, arguments.teacher, arguments.data)


if __name__ == "__main__":
    main()
