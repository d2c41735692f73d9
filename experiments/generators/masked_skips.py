"""What EMASC's skips past an autoencoder are worth outside and inside of the mask, on drawn stripes and letters.

    python experiments/generators/masked_skips.py [--seeds 5] [--steps 150]

For each seed a small AutoencoderKL learns stripes, then EMASC (`generators/ladi_vton`) learns to help its frozen
decoder: latents of the whole image, skips from the masked one. Mean absolute error on new images, 0 to 1, outside and
inside of a random rectangle: without skips, with them, and with those of another image (which must hurt).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from unmask.generators.ladi_vton import EMASC, decoded_with, encoder_features

SIDE, WIDTHS, BATCH = 32, (8, 16, 16), 16


def drawn(rng: np.random.Generator, count: int) -> Tensor:
    """(count, 3, 32, 32) in -1..1: stripes of two colours, and small squares on them."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    images = []
    for _ in range(count):
        turn, pace, one, other = rng.uniform(0, np.pi), rng.uniform(3, 9), rng.random(3), rng.random(3)
        wave = (np.sin(2 * np.pi * pace * (x * np.cos(turn) + y * np.sin(turn))) > 0)[..., None]
        image = wave * one + (1 - wave) * other
        for _ in range(4):
            r, c = rng.integers(0, SIDE - 3, 2)
            image[r : r + 3, c : c + 3] = rng.random(3)
        images.append(image.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(images)).float() * 2 - 1


def masks(rng: np.random.Generator, count: int) -> Tensor:
    made = torch.zeros(count, 1, SIDE, SIDE)
    for n in range(count):
        r, c = rng.integers(2, 14, 2)
        made[n, :, r : r + 14, c : c + 14] = 1
    return made


def errors(seed: int, steps: int) -> list[float]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = AutoencoderKL(
        block_out_channels=WIDTHS, norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    emasc = EMASC(WIDTHS)
    for module, n in ((vae, 2 * steps), (emasc, steps)):
        optimizer = torch.optim.AdamW(module.parameters(), 2e-3)
        for _ in range(n):
            image, mask = drawn(rng, BATCH), masks(rng, BATCH)
            z = vae.encode(image).latent_dist.mode()
            if module is vae:
                made = vae.decode(z).sample
            else:
                made = decoded_with(vae, z, emasc(encoder_features(vae, image * (1 - mask)), mask))
            loss = F.l1_loss(made, image)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        module.requires_grad_(False)
    image, mask = drawn(rng, 64), masks(rng, 64)
    z, features = vae.encode(image).latent_dist.mode(), encoder_features(vae, image * (1 - mask))
    shuffled = [f.roll(1, 0) for f in features]
    results = []
    for made in (
        vae.decode(z).sample, decoded_with(vae, z, emasc(features, mask)), decoded_with(vae, z, emasc(shuffled, mask))
    ):  # fmt: skip
        gap = (made - image).abs() / 2
        results += [float((gap * m).sum() / (3 * m.sum())) for m in (1 - mask, mask)]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = np.array([errors(seed, asked.steps) for seed in range(asked.seeds)])
    mean, spread = found.mean(0), found.std(0, ddof=1)
    for n, name in enumerate(("without skips", "with EMASC", "with another image's skips")):
        outside, inside = (f"{mean[k]:.4f} ± {spread[k]:.4f}" for k in (2 * n, 2 * n + 1))
        print(f"| {name} | {outside} | {inside} |")


if __name__ == "__main__":
    main()
