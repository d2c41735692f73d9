"""Real crops beside what an auto-encoder makes of them: the purest pairs, for they differ in nothing else.

    python -m experiments.whole.round_trips MATERIAL --taef2 FOLDER

FOLDER holds `taef2_encoder.safetensors` and `taef2_decoder.safetensors`, the tiny auto-encoder of a diffusion model
(github.com/madebyollin/taesd, MIT). The second auto-encoder is the one of `generators/upsample`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from experiments.whole.material import CROP, Row, read, write
from unmask.types import Pixels

UPSAMPLE = Path("src/unmask/generators/upsample.onnx")
EACH = {"upsample": 60, "taef2": 45}  # crops of a source; a round trip by TAEF2 takes a second


class Block(nn.Module):
    """Three convolutions beside the identity; `pool` mixes channels in groups first."""

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(64, 64, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        wide = (nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(), nn.Conv2d(256, 64, 1, bias=False))
        self.pool = nn.Sequential(*wide) if pool else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.pool is None else x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def taef2(folder: Path) -> Callable[[Pixels], Pixels]:
    """The round trip of an image whose sides are multiples of 8."""

    def halve() -> nn.Module:
        return nn.Conv2d(64, 64, 3, 2, 1, bias=False)

    def double() -> list[nn.Module]:
        return [nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1, bias=False)]

    def blocks(count: int, pool: bool = False) -> list[nn.Module]:
        return [Block(pool) for _ in range(count)]

    first, last = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
    encoder = nn.Sequential(first, Block(), halve(), *blocks(3), halve(), *blocks(3), halve(), *blocks(3, True), last)
    begin, end = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 3, 3, padding=1)
    decoder = nn.Sequential(
        Clamp(),
        begin,
        nn.ReLU(),
        *blocks(3, True),
        *double(),
        *blocks(3),
        *double(),
        *blocks(3),
        *double(),
        Block(),
        end,
    )
    encoder.load_state_dict(load_file(folder / "taef2_encoder.safetensors"))
    decoder.load_state_dict(load_file(folder / "taef2_decoder.safetensors"))

    def trip(image: Pixels) -> Pixels:
        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            made = decoder(encoder(x)).clamp(0, 1)[0]
        return np.asarray((made.permute(1, 2, 0) * 255).round().byte())

    return trip


def upsample(model: Path) -> Callable[[Pixels], Pixels]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def trip(image: Pixels) -> Pixels:
        x = (image.transpose(2, 0, 1)[None] / 255).astype(np.float32)
        made = np.asarray(session.run(None, {"image": x})[0])[0].clip(0, 1)
        return np.asarray((made.transpose(1, 2, 0) * 255).round(), np.uint8)

    return trip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.whole.round_trips", description=__doc__.splitlines()[0]
    )
    parser.add_argument("material", type=Path)
    parser.add_argument("--taef2", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = read(asked.material / "train.csv")
    crops = np.load(asked.material / "train.npy", mmap_mode="r")
    pairs: list[tuple[Row, Pixels]] = []
    for kind, trip in (("upsample", upsample(UPSAMPLE)), ("taef2", taef2(asked.taef2))):
        for source in sorted({r.source for r in rows if r.label == "real"}):
            members = [i for i, r in enumerate(rows) if r.source == source]
            for i in np.random.default_rng(2).permutation(members)[: EACH[kind]]:
                row, crop = rows[int(i)], np.asarray(crops[int(i)])
                assert crop.shape == (CROP, CROP, 3)
                number = str(len(pairs) // 2)
                for label, image in (("real", crop), ("fake", trip(crop))):
                    pairs.append((Row(f"{kind}@{source}", label, kind, row.group, row.path, number), image))
    write(asked.material / "pairs", pairs)
    print(f"{len(pairs) // 2} pairs")


if __name__ == "__main__":
    main()
