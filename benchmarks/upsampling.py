"""Does NPR see up-sampling, or the codec? Photographs beside themselves, halved and enlarged again by a known kernel.

    python benchmarks/upsampling.py --faces faces.parquet

Real crops of a face manifest are one class, the same crops shrunk to a half and enlarged by one kernel the other. NPR
and the same network on plain colours learn one kernel and are asked about all, with both classes saved as PNG, and
once more with both saved as JPEG of quality 90: what format alone betrays, neither can use. AUROC on people of the test
split, one seed; the intervals draw crops.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Output
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.detectors.npr import NPR
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import auroc
from unmask.types import InputSpec, Pixels

SIDE, STEPS, BATCH, RATE = 64, 100, 32, 1e-3
KERNELS = ("nearest", "bilinear", "bicubic", "transposed")
LEARNT = ("nearest", "bilinear")
CODECS = ("png", "jpeg 90")


class Colours(NPR):
    """NPR's network without NPR."""

    def forward(self, image: Tensor) -> Output:
        features = self.body((image - 0.45) / self.std).mean((2, 3))
        return Output(self.head(features), features)


def enlarged(image: Pixels, kernel: str) -> Pixels:
    """Shrunk to a half, then enlarged to its old size."""
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    ways = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
    if kernel in ways:
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=ways[kernel]), np.uint8)
    weights = (
        np.random.default_rng(7).uniform(0.2, 1, (4, 4)).astype(np.float32)
    )  # of one generator, so always the same
    for row, column in np.ndindex(2, 2):  # each pixel of a 2 x 2 cell is a mean of its neighbours
        weights[row::2, column::2] /= weights[row::2, column::2].sum()
    planes = torch.from_numpy(small.transpose(2, 0, 1)[:, None].astype(np.float32))
    made = F.conv_transpose2d(planes, torch.from_numpy(weights)[None, None], stride=2, padding=1)[:, 0]
    return np.asarray(made.numpy().transpose(1, 2, 0).round().clip(0, 255), np.uint8)


def saved(image: Pixels, codec: str) -> Pixels:
    if codec == "png":
        return image
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR))


def pictures(crops: list[Pixels], kernel: str, codec: str) -> tuple[Tensor, Tensor]:
    """(2 N, 3, SIDE, SIDE) in 0..1 and labels, each crop beside its forged twin."""
    both = [saved(x, codec) for crop in crops for x in (crop, enlarged(crop, kernel))]
    return torch.from_numpy(np.stack(both).transpose(0, 3, 1, 2) / np.float32(255)), torch.arange(len(both)) % 2


def learnt(kind: type[NPR], image: Tensor, label: Tensor) -> NPR:
    torch.manual_seed(0)
    detector, rng = kind(size=SIDE).train(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(detector.parameters(), RATE)
    for _ in range(STEPS):
        pairs = 2 * rng.choice(len(label) // 2, BATCH // 2, replace=False)
        chosen = torch.from_numpy(np.concatenate([pairs, pairs + 1]))
        F.cross_entropy(detector(image[chosen]).logits, label[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return detector.eval()


@torch.inference_mode()
def judged(detector: NPR, image: Tensor, label: Tensor) -> str:
    logits = torch.cat([detector(part).logits for part in image.split(64)])
    score, truth = (logits[:, 1] - logits[:, 0]).double().numpy(), label.numpy()
    crop = np.arange(len(truth)) // 2
    found = bootstrap(auroc, truth, score, crop, rounds=300)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def crops_of(faces: Path, split: str, count: int) -> list[Pixels]:
    """The middle of real crops as they are stored, drawn evenly from all of a split."""
    manifest = Manifest(faces)
    table = manifest.table(["split", "label", "reason"])
    real = (table["label"].fill_null(-1).to_numpy() == 0) & np.asarray([not r for r in table["reason"].to_pylist()])
    mine = real & (np.asarray(table["split"].to_pylist(), str) == split)
    stored = FaceSet(faces, InputSpec(size=256, margin=1.3), where=mine)
    at, low = np.linspace(0, len(stored) - 1, count).astype(int), (256 - SIDE) // 2
    return [stored.stored(int(i))[low : low + SIDE, low : low + SIDE] for i in at]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=300, help="to learn from; half as many are asked about")
    arguments = parser.parse_args()
    train = crops_of(arguments.faces, "train", arguments.crops)
    test = crops_of(arguments.faces, "test", arguments.crops // 2)
    print(f"{len(train)} crops to learn from, {len(test)} asked about, {STEPS} steps of {BATCH}")
    print("| saved as | learnt | input | " + " | ".join(KERNELS) + " |\n|" + "---|" * (3 + len(KERNELS)))
    for codec in CODECS:
        asked = {kernel: pictures(test, kernel, codec) for kernel in KERNELS}
        for kernel in LEARNT:
            image, label = pictures(train, kernel, codec)
            for name, kind in (("NPR", NPR), ("colours", Colours)):
                detector = learnt(kind, image, label)
                cells = [judged(detector, *asked[k]) for k in KERNELS]
                print(f"| {codec} | {kernel} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
