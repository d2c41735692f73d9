"""TSOM said backward and forward, on edits that lie over each other and on edits that do not.

    python experiments/detectors/tsom_order.py --held RESULTS.json --out docs/tables/tsom-order.md

Edits are patches of three textures on a smooth image. Where they overlap, the later covers the earlier, and the order
can be seen; where they do not, it cannot, and no reading order should win.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from small import answers, held, interval, mean, page, train
from torch import Tensor

from unmask.base.detector import Batch
from unmask.detectors.tsom import TSOM
from unmask.measure.sequence import adaptive_accuracy

SIDE, STEPS, SEEDS = 64, 120, 3
ORDERS = ("", *("-".join(order) for n in (1, 2, 3) for order in permutations("abc", n)))
OPTIONS = {
    "network": "tiny-resnet", "size": SIDE, "width": 32, "heads": 2, "layers": 1, "dropout": (0.0, 0.0), "alpha": 0.0,
    "shape_widths": (8,),
}  # fmt: skip


class Edits(TSOM):
    classes = ORDERS


def drawn(n: int, seed: int, overlap: bool) -> tuple[Tensor, Tensor]:
    """Images (n, 3, S, S) and the index of each one's order."""
    rng = np.random.default_rng(seed)
    places = {"a": (12, 12), "b": (18, 20), "c": (22, 14)} if overlap else {"a": (2, 2), "b": (2, 38), "c": (38, 20)}
    rows, columns = np.mgrid[:SIDE, :SIDE]
    textures = {"a": (rows // 2 % 2), "b": (columns // 2 % 2), "c": ((rows + columns) // 2 % 2)}
    colours = {"a": (1.0, 0.3, 0.3), "b": (0.3, 1.0, 0.3), "c": (0.3, 0.3, 1.0)}
    images, labels = [], []
    for _ in range(n):
        code = int(rng.integers(len(ORDERS)))
        image = np.full((SIDE, SIDE, 3), rng.uniform(0.3, 0.7)) + rng.normal(0, 0.03, (SIDE, SIDE, 3))
        for step in [s for s in ORDERS[code].split("-") if s]:
            y, x = (p + int(rng.integers(-2, 3)) for p in places[step])
            box = np.s_[max(y, 0) : y + 24, max(x, 0) : x + 24]
            image[box] = textures[step][box][..., None] * np.array(colours[step]) * 0.6 + 0.2
        images.append(image.clip(0, 1).astype(np.float32).transpose(2, 0, 1))
        labels.append(code)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def order_of(code: int) -> list[int]:
    steps = [1 + "abc".index(s) for s in ORDERS[code].split("-") if s]
    return steps + [0] * (3 - len(steps))


def run(overlap: bool, backward: bool, seed: int) -> float:
    torch.manual_seed(seed)
    image, label = drawn(600, seed, overlap)
    detector = Edits(**OPTIONS, backward=backward)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)

    def draw() -> Batch:
        rows = torch.from_numpy(rng.choice(len(image), 32, replace=False))
        return Batch(image[rows], label[rows])

    train(detector, draw, STEPS, 1e-3)
    other, truth = drawn(200, 1000 + seed, overlap)
    said = answers(detector, other).argmax(1)
    return adaptive_accuracy([order_of(int(k)) for k in truth], [order_of(int(k)) for k in said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    rows = []
    for overlap, name in ((True, "overlapping"), (False, "apart")):
        found = {
            b: [held(told.held, f"{name} {b} {s}", lambda o=overlap, b=b, s=s: run(o, b, s)) for s in range(SEEDS)]
            for b in (False, True)
        }
        gain = interval([a - b for a, b in zip(found[True], found[False], strict=True)])
        rows.append((name, mean(found[False]), mean(found[True]), gain))
    none = np.mean([not any(order_of(k)) for k in range(len(ORDERS))])
    said = f"""
Synthetic images of {SIDE} pixels with none to three textured patches, 600 to learn from ({STEPS} batches of 32), 200
to test on, {SEEDS} seeds; TSOM on a very small ResNet (random weights, no shape branch). Adaptive-Acc in true order,
mean (least to most), and the paired difference with its 95 % interval over seeds. "No edit" for all would be right for
the {none:.0%} of the images that have none.
"""
    command = f"python experiments/detectors/tsom_order.py --held tsom.json --out {told.out}"
    head = ("patches", "forward", "backward", "backward beyond forward")
    page(told.out, "TSOM: does saying the last edit first help", said, command, head, rows)


if __name__ == "__main__":
    main()
