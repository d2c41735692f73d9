"""A small auto-encoder whose decoder leaves its traces in what it repeats: the learned part of `generators/upsample`.

    python -m training.upsampler --samples samples --out src/unmask/generators/upsample.onnx

It halves an image twice, keeps eight numbers for each 4 x 4 pixels, and makes an image of them by two transposed
convolutions, as most generators of images do at their end. It learns from the public-domain images in `samples/`
and from made-up ones: leaves of random colours and noise like that of natural images. No research data is read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.exporting.onnx import strip_metadata
from unmask.exporting.precision import quantize
from unmask.types import Pixels, UnmaskError

SIDE, BATCH = 64, 16
PICTURES = ("portrait-real.jpg", "no-face.jpg")
LATENT = 8


class AutoEncoder(nn.Module):
    """(B, 3, H, W) in 0..1, sides multiples of 4 -> the same, as the decoder sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Conv2d(48, LATENT, 3, 1, 1)
        )
        # Kernel 3 at stride 2 overlaps unevenly: the checkerboard of Odena et al., Distill 2016.
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENT, 48, 3, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(48, 32, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.ReLU(), nn.Conv2d(16, 3, 1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        repeated: Tensor = self.decoder(self.encoder(image - 0.5)) + 0.5
        return repeated.clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser("python -m training.upsampler", description=sys.modules[__name__].__doc__)
    parser.add_argument("--samples", type=Path, required=True, help="the repository's folder of images")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    net = train(asked.samples, asked.steps, asked.seed)
    write(net, asked.out)
    print(f"{asked.out}: {asked.out.stat().st_size:,} bytes")


def train(samples: Path, steps: int, seed: int) -> AutoEncoder:
    """L1 and its gradient's L1, Adam, a falling rate."""
    torch.manual_seed(seed)
    net = AutoEncoder()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, image in zip(range(steps), batches(pictures(samples), seed), strict=False):
        repeated = net.decoder(net.encoder(image - 0.5)) + 0.5  # the clamp would stop gradients
        loss = F.l1_loss(repeated, image) + F.l1_loss(_edges(repeated), _edges(image))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            print(f"step {step}: {loss.item():.4f}", file=sys.stderr, flush=True)
    return net.eval()


def pictures(samples: Path) -> list[Pixels]:
    """Raises: UnmaskError for a folder without them."""
    found = [cv2.imread(str(samples / name)) for name in PICTURES]
    if any(picture is None for picture in found):
        raise UnmaskError(f"{samples} has no {' and '.join(PICTURES)}: give the repository's samples folder")
    return [np.ascontiguousarray(picture[..., ::-1]) for picture in found if picture is not None]


def batches(real: list[Pixels], seed: int) -> Iterator[Tensor]:
    """Endless (BATCH, 3, SIDE, SIDE) in 0..1: patches of images, at random sizes and colours, leaves and noise."""
    rng = np.random.default_rng(seed)
    while True:
        patches = [_patch(real[rng.integers(len(real))], rng) if rng.random() < 0.6 else _made_up(rng)
                   for _ in range(BATCH)]  # fmt: skip
        yield torch.from_numpy(np.stack(patches).transpose(0, 3, 1, 2).copy())


def write(net: AutoEncoder, path: Path) -> None:
    """As ONNX, large weights in two bytes, for any height and width that are multiples of 4."""
    sides = {2: torch.export.Dim("h4", min=8, max=1024) * 4, 3: torch.export.Dim("w4", min=8, max=1024) * 4}
    torch.onnx.export(
        net,
        (torch.rand(1, 3, SIDE, SIDE),),
        str(path),
        input_names=["image"],
        output_names=["repeated"],
        dynamic_shapes={"image": sides},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    strip_metadata(path)
    quantize(path, "fp16")


def _patch(picture: Pixels, rng: np.random.Generator) -> NDArray[np.float32]:
    side = int(rng.uniform(SIDE, min(picture.shape[:2])))
    y, x = (int(rng.integers(0, n - side + 1)) for n in picture.shape[:2])
    part = cv2.resize(picture[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    colours = part[..., rng.permutation(3)] * np.float32(rng.uniform(0.5, 1.2)) + np.float32(rng.uniform(-30, 50))
    flipped = colours[:, ::-1] if rng.random() < 0.5 else colours
    return np.asarray((flipped / 255).clip(0, 1), np.float32)


def _made_up(rng: np.random.Generator) -> NDArray[np.float32]:
    """Discs of random colours over each other, or noise whose amplitude falls with frequency."""
    if rng.random() < 0.5:
        canvas = np.empty((SIDE, SIDE, 3), np.float32)
        canvas[:] = rng.random(3)
        for _ in range(60):
            centre, radius = tuple(map(int, rng.integers(0, SIDE, 2))), int(3 + rng.pareto(2) * 4)
            cv2.circle(canvas, centre, min(radius, SIDE), rng.random(3).tolist(), -1, cv2.LINE_AA)
        return canvas
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    f[0, 0] = 1 / SIDE
    noise = np.fft.fft2(rng.standard_normal((3, SIDE, SIDE))) / f ** rng.uniform(0.8, 1.6)
    field = np.fft.ifft2(noise).real
    field = (field - field.mean()) / field.std() * rng.uniform(0.08, 0.25) + rng.uniform(0.2, 0.8)
    return np.asarray(field.clip(0, 1).transpose(1, 2, 0), np.float32)


def _edges(image: Tensor) -> Tensor:
    """Differences of neighbours, both ways."""
    return torch.cat([image.diff(dim=2)[..., :-1], image.diff(dim=3)[..., :-1, :]], 1)


if __name__ == "__main__":
    main()
