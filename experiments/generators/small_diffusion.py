"""A small latent diffusion model of faces, trained on a CPU: real diffusion images without a download.

    python experiments/generators/small_diffusion.py RUN IMAGES... --autoencoder FOLDER [--minutes 40] [--side 64]

IMAGES are folders of photographs with faces, FOLDER an autoencoder (`unmask.nn.autoencoders`, e.g. TAEF2). The largest
face of each image is aligned and encoded once; a UNet without words learns to take noise off the latents. The same
command goes on where it was ended. RUN then holds

    latents.safetensors     of all faces and their mirror images
    state.pt                network, its running mean, optimiser and step, saved every minute
    model/                  unet/, vae/, scheduler/: a folder that `anchor_latent` and `inpaint` take as `weights`
    sheet.png               the first row real faces after a round trip, the others painted from noise

The model is as good as its images' terms: do not give it away if they forbid that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from unmask import open_media
from unmask.faces import FaceDetector, crop
from unmask.forging.saving import png
from unmask.nn.autoencoders import as_pixels, as_tensor, load_autoencoder
from unmask.nn.diffusion import denoised, load_diffusion, normal
from unmask.types import Frame, InputSpec, Pixels, UnmaskError

BATCH, LR, MEAN = 32, 6e-4, 0.995
SUFFIXES = (".jpg", ".jpeg", ".png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--autoencoder", required=True)
    parser.add_argument("--minutes", type=float, default=40, help="of training in this call")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=int, default=32, help="of the network's first block; 96 where there is time")
    parser.add_argument("--most", type=int, default=1500, help="images of each folder")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.run.mkdir(parents=True, exist_ok=True)
    held = asked.run / "latents.safetensors"
    if not held.exists():
        save_file({"z": encoded(asked.images, asked.autoencoder, asked.side, asked.most)}, held)
    z = load_file(held)["z"]
    shift, scale = z.mean().item(), 1 / z.std().item()
    model = trained((z - shift) * scale, asked.run / "state.pt", 60 * asked.minutes, asked.width)
    export(model, asked.run / "model", Path(asked.autoencoder), shift, scale)
    sheet(asked.run, z, asked.side)


def encoded(folders: list[Path], autoencoder: str, side: int, most: int) -> Tensor:
    """(N, C, h, w): latents of the largest face of each image, and of its mirror image."""
    model, found, began = load_autoencoder(autoencoder), list[Tensor](), time.monotonic()
    for n, face in enumerate(faces(folders, side, most)):
        planes = as_tensor(face)
        with torch.no_grad():
            found.append(model.encode(torch.cat([planes, planes.flip(3)])))
        if n % 200 == 0:
            print(f"{n} faces, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return torch.cat(found)


def faces(folders: list[Path], side: int, most: int) -> Iterator[Pixels]:
    detector, spec = FaceDetector.load(threads=1), InputSpec(size=side, margin=1.3)
    for folder in folders:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        chosen = np.random.default_rng(0).permutation(len(paths))[:most]
        for n in chosen:
            try:
                frame = next(iter(open_media(paths[n]).frames(1)))
            except UnmaskError:
                continue
            if isinstance(frame, Frame) and (there := detector.find(frame.image)):
                yield crop(frame.image, max(there, key=lambda f: f.side), spec).image


def network(channels: int, size: int, width: int) -> UNet2DModel:
    return UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=1,
        block_out_channels=(width, 2 * width), norm_num_groups=16, attention_head_dim=32,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def scheduler() -> DDIMScheduler:
    # Not from the very last step: its signal is so small that the noise predicted there is divided by nearly 0.
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading"
    )


def trained(z: Tensor, state: Path, seconds: float, width: int) -> UNet2DModel:
    """Epsilon prediction, Adam, a running mean of the weights, which is what is kept."""
    torch.manual_seed(0)
    net, noise_schedule = network(z.shape[1], z.shape[2], width), scheduler()
    mean = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer, step = torch.optim.AdamW(net.parameters(), LR), 0
    if state.exists():
        kept: dict[str, Any] = torch.load(state, weights_only=True)
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        mean, step = kept["mean"], kept["step"]
    began, saved, losses = time.monotonic(), time.monotonic(), list[float]()
    while time.monotonic() - began < seconds:
        rng = np.random.default_rng((0, step))
        x = z[torch.from_numpy(rng.integers(len(z), size=BATCH))]
        noise, t = normal(rng, *x.shape), torch.from_numpy(rng.integers(1000, size=BATCH))
        loss = F.mse_loss(net(noise_schedule.add_noise(x, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(MEAN, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            mean[name].lerp_(value, 1 - decay)
        losses.append(loss.item())
        if time.monotonic() - saved > 60 or time.monotonic() - began >= seconds:
            saved = time.monotonic()
            torch.save({"net": net.state_dict(), "mean": mean, "optimizer": optimizer.state_dict(), "step": step},
                       state.with_suffix(".partial"))  # fmt: skip
            state.with_suffix(".partial").replace(state)
            print(f"step {step}: {np.mean(losses):.4f}", file=sys.stderr, flush=True)
            losses = []
    net.load_state_dict(mean)
    return net.eval()


def export(net: UNet2DModel, folder: Path, autoencoder: Path, shift: float, scale: float) -> None:
    net.save_pretrained(folder / "unet")
    scheduler().save_pretrained(folder / "scheduler")
    (folder / "vae").mkdir(parents=True, exist_ok=True)
    for part in ("encoder", "decoder"):
        shutil.copy(next(autoencoder.glob(f"*{part}.safetensors")), folder / "vae")
    (folder / "vae" / "config.json").write_text(json.dumps({"scaling_factor": scale, "shift_factor": shift}))


def sheet(run: Path, z: Tensor, side: int, rows: int = 5, columns: int = 8) -> None:
    model = load_diffusion(str(run / "model"))
    real = load_autoencoder(str(run / "model" / "vae"))
    steps, size = model.steps(50), side // model.autoencoder.factor
    cells: list[Pixels] = []
    with torch.no_grad():
        for n in range(columns):
            cells.append(as_pixels(real.decode((z[2 * n][None] - real.shift) * real.scale), side, side))
        for n in range((rows - 1) * columns):
            start = normal(np.random.default_rng(n), 1, z.shape[1], size, size)
            cells.append(as_pixels(model.autoencoder.decode(denoised(model, start, steps)), side, side))
    page = np.concatenate([np.concatenate(cells[n : n + columns], 1) for n in range(0, len(cells), columns)])
    large = np.asarray(Image.fromarray(page).resize((2 * page.shape[1], 2 * page.shape[0]), Image.Resampling.BICUBIC))
    (run / "sheet.png").write_bytes(png(large, "samples of a small diffusion model, under real faces"))


if __name__ == "__main__":
    main()
