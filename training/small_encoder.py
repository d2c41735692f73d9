"""An encoder of faces that a laptop can train: a small vision transformer trained by an ImageNet network, no labels.

    python -m training.small_encoder --data COLLECTION --weights WEIGHTS --out RUN

It stands in for CLIP where no large pre-trained encoder can be had, for instance in ablations. The teacher is
MobileNetV2 at twice the student's resolution. For each cell of an 8 x 8 grid the student's patch token gives mean and
spread of the teacher's channels at four depths, from edges to parts of a face; the class token gives the same over the
whole face. Spread keeps texture, which a mean over the cell loses. What is trained are real faces of the training split
alone: no forgery, no label, nobody of validation or test.

`RUN/encoder.safetensors` is what `Detector.start` reads. Stopped and started again, a run keeps what is done.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.collection import Entry, usable
from training.crops import Crops, prepare
from unmask.faces import FaceDetector
from unmask.nn.backbones import Encoder, save
from unmask.nn.mobilenet import MobileNetV2, load_tflite
from unmask.types import Pixels

BACKBONE = "face-vit-128"
CELLS = 8  # the student's patches along a side
TAPS = (3, 6, 13, 17)  # the teacher's blocks that end strides 4, 8, 16 and 32
BATCH, RATE, DECAY, WARMUP = 64, 1e-3, 0.05, 200
EVERY = 200  # steps between checkpoints


def main() -> None:
    arguments = parse()
    out: Path = arguments.out
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    face_detector, mesh = FaceDetector.load(arguments.faces), arguments.weights / "mediapipe_face_landmark.tflite"
    crops = prepare(
        arguments.data, [r for r in usable(arguments.data) if taught(r)], out / "crops", face_detector, mesh
    )
    targets = teach(crops, arguments.weights / "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite", out / "targets.npy")
    torch.manual_seed(arguments.seed)
    student = train(Student(targets), reduced(crops), targets, out, arguments.steps, arguments.seed)
    save(student.encoder, out / "encoder.safetensors")
    print(f"encoder {BACKBONE} written to {out / 'encoder.safetensors'}")


def taught(row: Entry) -> bool:
    """Real faces of training people, stills only."""
    return row.split == "train" and not row.label and not row.path.endswith(".mp4")


# --- teacher ---------------------------------------------------------------------------------------------------------


class Teacher(nn.Module):
    """(B, 3, 256, 256) in 0..1 -> (B, 64, 624): each cell's mean and spread of the channels at four depths."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.body = MobileNetV2()
        load_tflite(self.body, weights)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        maps, found = image * 2 - 1, []
        for depth, layer in enumerate(self.body.layers[: TAPS[-1] + 1]):
            maps = layer(maps)
            if depth in TAPS:
                found += cells(maps)
        return torch.cat(found, 1).flatten(2).transpose(1, 2)


def cells(maps: Tensor) -> list[Tensor]:
    """(B, C, H, W) -> means (B, C, 8, 8), and standard deviations where a cell is more than a pixel."""
    mean = F.adaptive_avg_pool2d(maps, CELLS)
    if maps.shape[-1] == CELLS:
        return [mean]
    return [mean, (F.adaptive_avg_pool2d(maps.square(), CELLS) - mean.square()).clamp_min(0).sqrt()]


def teach(crops: Crops, weights: Path, path: Path) -> NDArray[np.float16]:
    """The teacher's answers to all crops, float16 (N, 64, 624), computed once and kept at `path`."""
    if not path.exists():
        teacher, partial = Teacher(weights), path.with_suffix(".partial")
        width = teacher(torch.zeros(1, 3, 256, 256)).shape[2]
        kept = np.lib.format.open_memmap(partial, "w+", np.float16, (len(crops.rows), CELLS * CELLS, width))
        for i in range(0, len(kept), 32):
            image = torch.from_numpy(crops.pixels[i : i + 32].transpose(0, 3, 1, 2).copy()).float().div_(255)
            kept[i : i + 32] = teacher(image.contiguous(memory_format=torch.channels_last)).numpy()
        kept.flush()
        partial.replace(path)
    answers: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return answers


# --- student ---------------------------------------------------------------------------------------------------------


class Student(nn.Module):
    """The encoder and two linear readers, which are thrown away afterwards: of patch tokens and of the class token."""

    cell_mean: Tensor
    cell_scale: Tensor
    face_mean: Tensor
    face_scale: Tensor

    def __init__(self, targets: NDArray[np.float16]) -> None:
        super().__init__()
        self.encoder = Encoder(BACKBONE)
        width, channels = self.encoder.kind.features, targets.shape[2]
        self.patches, self.whole = nn.Linear(width, channels), nn.Linear(width, 2 * channels)
        some = torch.from_numpy(targets[:: max(1, len(targets) // 1000)].astype(np.float32))  # enough for a mean
        for name, values in (("cell", some.flatten(0, 1)), ("face", summary(some))):
            self.register_buffer(f"{name}_mean", values.mean(0))
            self.register_buffer(f"{name}_scale", values.std(0) + 1e-3)

    def loss(self, image: Tensor, target: Tensor) -> Tensor:
        """Mean squared errors of cells and of the whole, in units of each channel's variance; 2 = nothing learnt.

        Args:
            image: (B, 3, 128, 128) in 0..1; target: (B, 64, 624).
        """
        out = self.encoder.body((image - self.encoder.mean) / self.encoder.std)  # type: ignore[operator]
        cell = (target - self.cell_mean) / self.cell_scale
        face = (summary(target) - self.face_mean) / self.face_scale
        error = F.mse_loss(self.patches(out.last_hidden_state[:, 1:]), cell)
        return error + F.mse_loss(self.whole(out.pooler_output), face)


def summary(target: Tensor) -> Tensor:
    """(B, 64, C) -> (B, 2 C): mean and standard deviation over the face."""
    return torch.cat([target.mean(1), target.std(1)], 1)


def reduced(crops: Crops) -> Pixels:
    """The wide crops at the student's size, uint8 (N, 128, 128, 3)."""
    side = Encoder(BACKBONE).kind.size
    return np.stack([cv2.resize(np.array(p), (side, side), interpolation=cv2.INTER_AREA) for p in crops.pixels])


def train(
    student: Student,
    faces: Pixels,
    targets: NDArray[np.float16],
    out: Path,
    steps: int,
    seed: int,
    until: int | None = None,
) -> Student:
    """AdamW with warm-up and cosine on faces and their mirror images; the n-th batch of a seed is always the same.

    Args:
        until: stop after this many of the `steps`, to go on another time.
    """
    optimiser = torch.optim.AdamW(student.parameters(), RATE, weight_decay=DECAY)
    last, begin, losses, started = out / "last.pt", 0, [], time.monotonic()
    if last.exists():
        kept = torch.load(last, weights_only=True)
        student.load_state_dict(kept["student"])
        optimiser.load_state_dict(kept["optimiser"])
        begin = kept["step"]
    end = steps if until is None else until
    for step in range(begin, end):
        optimiser.param_groups[0]["lr"] = RATE * rate(step, steps)
        loss = student.loss(*batch(faces, targets, np.random.default_rng((seed, step))))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % EVERY == 0 or step + 1 == end:
            state = {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, last.with_suffix(".partial"))
            last.with_suffix(".partial").replace(last)
            minutes = (time.monotonic() - started) / 60
            print(f"step {step + 1}  loss {sum(losses) / len(losses):.4f}  minutes {minutes:.1f}", flush=True)
            losses.clear()
    return student


def rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def batch(faces: Pixels, targets: NDArray[np.float16], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(B, 3, 128, 128) in 0..1 and (B, 64, 624); half of them mirrored, image and grid of cells alike."""
    chosen = rng.choice(len(faces), BATCH, replace=len(faces) < BATCH)
    image = torch.from_numpy(faces[chosen]).permute(0, 3, 1, 2).float().div_(255)
    target = torch.from_numpy(np.stack([targets[i] for i in chosen]).astype(np.float32)).unflatten(1, (CELLS, CELLS))
    mirrored = torch.from_numpy(rng.random(BATCH) < 0.5)
    image = torch.where(mirrored[:, None, None, None], image.flip(3), image)
    target = torch.where(mirrored[:, None, None, None], target.flip(2), target)
    return image, target.flatten(1, 2)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m training.small_encoder", description=sys.modules[__name__].__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the research collection, with MANIFEST.csv.gz")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the ImageNet and the face mesh weights")
    parser.add_argument("--out", type=Path, required=True, help="run folder; what is there already is not done again")
    parser.add_argument("--faces", default="embedded", help="face detector: embedded, yunet or an ONNX file")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
