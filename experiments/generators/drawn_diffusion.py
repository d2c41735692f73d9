"""A tiny diffusion model of drawn discs: what an anchor keeps at a strength, and whether the prior term prevents drift.

    python experiments/generators/drawn_diffusion.py [--seeds 5] [--steps 700]

Images of 32 pixels show one disc of any colour and place. A conditional UNet learns them under the words of the class;
its latents are those of `BlockDCT`. Then

    anchor    the distance of the disc in an edit from the disc in its anchor, by strength, in pixels; at 1 beside that
              to samples from noise alone
    prior     low-rank adapters learn a red disc under the subject's words, with and without the class's term; drift is
              the energy distance of the class's colours from those before, over so many seeds
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from unmask.generators.anchor_latent import add_adapter, from_anchor, learn_subject, sampled
from unmask.nn.autoencoders import as_pixels, as_tensor
from unmask.nn.diffusion import LatentDiffusion, normal, untrained
from unmask.types import Pixels

SIDE, COUNT = 32, 32


def disc(rng: np.random.Generator, colour: np.ndarray | None = None) -> Pixels:
    y, x = np.mgrid[:SIDE, :SIDE]
    at, own = rng.uniform(9, 23, 2), rng.uniform(0.2, 1, 3) if colour is None else colour
    inside = np.clip(7.5 - np.hypot(x - at[0], y - at[1]), 0, 1)[..., None]
    return np.asarray(255 * inside * own, np.uint8)


def colour_and_place(image: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Of the brightest pixels: their mean colour in 0..1, and their middle."""
    bright = image.max(2).astype(float)
    weight = (bright > 0.5 * bright.max()) * 1.0
    y, x = np.mgrid[:SIDE, :SIDE]
    total = max(weight.sum(), 1.0)
    place = np.array([(weight * x).sum(), (weight * y).sum()]) / total
    return (image * weight[..., None]).sum((0, 1)) / total / 255, place


def model(steps: int) -> LatentDiffusion:
    """Trained on discs under the words of the class; the embeddings of both prompts are random and fixed."""
    base = untrained()
    torch.manual_seed(0)
    table = torch.randn(3, 4, 16)

    def words(prompts: object) -> Tensor:
        return torch.stack([table[0 if not p else 1 + ("sks" in p)] for p in prompts])  # type: ignore[attr-defined]

    unet = UNet2DConditionModel(
        sample_size=8, in_channels=18, out_channels=18, layers_per_block=1, block_out_channels=(48, 64),
        cross_attention_dim=16, norm_num_groups=8, attention_head_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = LatentDiffusion(base.autoencoder, unet, base.scheduler, words, SIDE)
    rng, optimizer = np.random.default_rng(0), torch.optim.AdamW(unet.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.no_grad():
        z = torch.cat([made.autoencoder.encode(as_tensor(disc(rng))) for _ in range(600)])
    for step in range(steps):
        x = z[torch.from_numpy(rng.integers(len(z), size=32))]
        noise, t = normal(rng, *x.shape), torch.from_numpy(rng.integers(1000, size=len(x)))
        given = words(["" if n < 4 else "a photo" for n in range(32)])
        loss = F.mse_loss(made.predicted(made.scheduler.add_noise(x, noise, t), t, given), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step}: {loss.item():.3f}", file=sys.stderr, flush=True)
    unet.eval().requires_grad_(False)
    return made


def anchors(trained: LatentDiffusion) -> None:
    rng = np.random.default_rng(1)
    given = [disc(rng) for _ in range(COUNT)]
    for strength in (0.2, 0.4, 0.6, 0.8, 1.0):
        made = [from_anchor(trained, a, strength, np.random.default_rng(n), "a photo", 1.0, 20)
                for n, a in enumerate(given)]  # fmt: skip
        gaps = [
            np.linalg.norm(colour_and_place(m)[1] - colour_and_place(a)[1]) for m, a in zip(made, given, strict=True)
        ]
        print(f"| strength {strength} | {np.mean(gaps):.2f} ± {np.std(gaps, ddof=1) / COUNT**0.5:.2f} |", flush=True)
    free = pictures(trained, 2)
    gaps = [np.linalg.norm(colour_and_place(m)[1] - colour_and_place(a)[1]) for m, a in zip(free, given, strict=True)]
    print(f"| from noise alone | {np.mean(gaps):.2f} ± {np.std(gaps, ddof=1) / COUNT**0.5:.2f} |", flush=True)


def pictures(trained: LatentDiffusion, seed: int) -> list[Pixels]:
    z = sampled(trained, COUNT, np.random.default_rng(seed), "a photo of a person", 15)
    return [as_pixels(trained.autoencoder.decode(one), SIDE, SIDE) for one in z.split(1)]


def energy(a: np.ndarray, b: np.ndarray) -> float:
    def mean(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.linalg.norm(p[:, None] - q, axis=2).mean())

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def prior(trained: LatentDiffusion, seeds: int) -> None:
    plain = {name: value.clone() for name, value in trained.unet.state_dict().items()}
    settings = dict(trained.unet.config)
    before = np.stack([colour_and_place(p)[0] for p in pictures(trained, 3)])
    again = np.stack([colour_and_place(p)[0] for p in pictures(trained, 4)])
    print(f"| two draws before | {energy(before, again):.3f} |", flush=True)
    own = sampled(trained, COUNT, np.random.default_rng(5), "a photo of a person", 15)
    drifts: dict[float, list[float]] = {0.0: [], 1.0: []}
    for seed in range(seeds):
        rng = np.random.default_rng((seed, 1))
        subject = torch.cat(
            [trained.autoencoder.encode(as_tensor(disc(rng, np.array([1, 0.1, 0.1])))) for _ in range(5)]
        )
        for weight, found in drifts.items():
            unet = UNet2DConditionModel.from_config(settings)
            unet.load_state_dict(plain)
            held = LatentDiffusion(trained.autoencoder, unet.eval(), trained.scheduler, trained.words, SIDE)
            add_adapter(held, 8, seed)
            learn_subject(held, subject, own, prior=weight, steps=150, batch=8, lr=2e-3, seed=seed)
            after = np.stack([colour_and_place(p)[0] for p in pictures(held, 3)])
            found.append(energy(before, after))
    for weight, found in drifts.items():
        print(f"| prior {weight:g} | {np.mean(found):.3f} ± {np.std(found, ddof=1):.3f} | {np.round(found, 3)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=700)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    trained = model(asked.steps)
    with torch.no_grad():
        anchors(trained)
    prior(trained, asked.seeds)


if __name__ == "__main__":
    main()
