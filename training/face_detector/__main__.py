"""One command from images to the two ONNX files: label with the teacher, train, export, measure.

python -m training.face_detector --data DIR --teacher yunet_n_dynamic.onnx --negatives DIR --out DIR
python -m training.face_detector --data DIR --teacher yunet_n_dynamic.onnx --negatives DIR --out DIR --evaluate
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training.face_detector import closeups, refine
from training.face_detector import refinement_net as refiner
from training.face_detector.evaluate import REFINER, evaluate
from training.face_detector.loss import loss
from training.face_detector.net import FaceDetectorNet, decode, export
from training.face_detector.scenes import Composer, Scene
from training.face_detector.sources import CLOSE_SIDES, Fold, Picture, Teacher, labelled, restore, save
from unmask.faces import FaceDetector

DOUBTED = 0.1  # what the first net must say of a thing for the second to learn that it is no face


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights were trained with."""

    steps: int = 15000
    sides: tuple[int, ...] = (160, 192, 192, 256, 320)  # of training scenes, pixels; one for each batch
    pixels: int = 16 * 192 * 192  # of a batch
    rate: float = 2e-3
    warm_up: int = 300
    decay: float = 0.01
    memory: float = 0.998  # of the averaged weights
    seed: int = 7

    def words(self, second: refine.Recipe) -> str:
        return (
            f"from random values; the first net {self.steps:,} steps of about {self.pixels:,} pixels, the second "
            f"{' and '.join(f'{part.steps:,}' for part in second.rounds)} steps of {second.size} close-ups: "
            f"python -m training.face_detector --steps {self.steps} --seed {self.seed}"
        )


Batch = tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]


class Batches(IterableDataset[Batch]):
    """Endless batches of scenes, drawn in a second process while the net learns."""

    def __init__(self, pictures: list[Picture], recipe: Recipe) -> None:
        self.composer, self.recipe = Composer(pictures), recipe

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng(self.recipe.seed)
        while True:
            side = int(rng.choice(self.recipe.sides))
            yield together([self.composer.scene(rng, side) for _ in range(self.recipe.pixels // side**2)])


def together(scenes: list[Scene]) -> Batch:
    """Images as uint8 (B, 3, S, S), truths as lists: images hold different numbers of faces."""
    image = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2)
    boxes, points, ignore = (
        [torch.from_numpy(getattr(s, name)) for s in scenes] for name in ("boxes", "points", "ignore")
    )
    return image, boxes, points, ignore


def rate_at(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    rise = min(recipe.warm_up, recipe.steps // 20)
    if step < rise:
        return recipe.rate * (step + 1) / rise
    share = (step - rise) / max(recipe.steps - rise, 1)
    return recipe.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


@torch.no_grad()
def remember(average: FaceDetectorNet, net: FaceDetectorNet, memory: float) -> None:
    """Exponential average of weights and normalisation statistics."""
    for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - memory)
        else:
            kept.copy_(new)


def train(pictures: list[Picture], recipe: Recipe, checkpoint: Path | None = None) -> FaceDetectorNet:
    """The averaged net after `recipe.steps` steps, in evaluation mode; it goes to `checkpoint` every 500 steps."""
    torch.manual_seed(recipe.seed)
    net = FaceDetectorNet().to(memory_format=torch.channels_last)
    average: FaceDetectorNet = copy.deepcopy(net)
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": heavy, "weight_decay": recipe.decay}, {"params": light, "weight_decay": 0.0}]
    )
    loader = DataLoader(Batches(pictures, recipe), batch_size=None, num_workers=1, prefetch_factor=8)
    started, shown = time.perf_counter(), {"obj": 0.0, "cls": 0.0, "box": 0.0, "points": 0.0}
    for step, (image, *truth) in zip(range(recipe.steps), loader, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, recipe)
        terms = loss(decode(net(image.float().contiguous(memory_format=torch.channels_last))), *truth)
        optimiser.zero_grad(set_to_none=True)
        sum(terms.values(), torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        remember(average, net, min(recipe.memory, (step + 1) / (step + 10)))
        shown = {name: 0.98 * shown[name] + 0.02 * float(value.detach()) for name, value in terms.items()}
        if step % 100 == 99:
            spent = time.perf_counter() - started
            print(f"step {step + 1}  {spent:.0f} s  " + "  ".join(f"{k} {v:.3f}" for k, v in shown.items()), flush=True)
        if checkpoint is not None and step % 500 == 499:
            save_file({name: value.contiguous() for name, value in average.state_dict().items()}, checkpoint)
    return average.eval()


def pictures_of(fold: Fold, asked: argparse.Namespace) -> list[Picture]:
    """From the cache beside the results if it is there."""
    cache: Path = asked.out / f"{fold}.npz"
    if not cache.is_file():
        save(labelled(asked.data, asked.negatives, asked.teacher, fold), cache)
    return restore(cache)


def closeups_of(fold: Fold, asked: argparse.Namespace) -> closeups.Closeups:
    """Faces as the teacher marks them, and what the trained first net takes for one; from the cache if it is there."""
    cache: Path = asked.out / f"{fold}-closeups.npz"
    if not cache.is_file():
        looks = Teacher(asked.teacher, CLOSE_SIDES, mirrored=True)
        faces, points = closeups.faces_of(closeups.originals(asked.data, fold), looks)
        eager = FaceDetector((asked.out / "face_detector.onnx").read_bytes(), "first net", confident=DOUBTED)
        others = closeups.others_of(pictures_of(fold, asked), eager)
        print(f"{fold}: close-ups of {len(faces)} faces and of {len(others)} other things", flush=True)
        closeups.save(closeups.Closeups(faces, points, others), cache)
    return closeups.restore(cache)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.face_detector", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with lfw_deepfunneled/, utkface_crop/, ffpp_c23_videos/ ..."
    )
    parser.add_argument("--teacher", type=Path, required=True, help="YuNet's ONNX file with free height and width")
    parser.add_argument("--negatives", type=Path, nargs="+", required=True, help="folders of images without faces")
    parser.add_argument(
        "--out", type=Path, required=True, help="labels, checkpoints, the two nets and face_detector.json go here"
    )
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="of the first net")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--refine", action="store_true", help="train only the second net, for the first one in --out")
    parser.add_argument("--evaluate", action="store_true", help="only measure the two nets that are in --out")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    weights = asked.out / "face_detector.onnx"
    recipe = Recipe(steps=asked.steps, seed=asked.seed)
    second = refine.Recipe(seed=asked.seed)
    if not (asked.evaluate or asked.refine):
        export(train(pictures_of("train", asked), recipe, asked.out / "face detector.safetensors"), weights)
    if not asked.evaluate:
        near = closeups_of("train", asked), closeups_of("validation", asked)
        refiner.export(refine.train(*near, second, asked.out / "refiner.safetensors"), asked.out / REFINER)
    validation = pictures_of("validation", asked)
    evaluate(weights, asked.teacher, asked.data, asked.negatives, validation, recipe.words(second))


if __name__ == "__main__":
    main()
