"""Autoencoders of images, read from local folders: what latent diffusion models paint in, and a trace by themselves.

Three kinds of weights are read, all of them safetensors and none downloaded:

- a folder with `*encoder.safetensors` and `*decoder.safetensors` in TAESD's layout (github.com/madebyollin/taesd, MIT),
  TAEF2 among them; a `config.json` beside them may hold `scaling_factor` and `shift_factor`;
- a folder of diffusers' AutoencoderKL, AutoencoderTiny or VQModel; a whole pipeline's folder is entered by `vae/`;
- "dct": no weights, but the lowest coefficients of the cosine transform of 4 x 4 blocks. It is no neural network; it
  stands in for one where the path around it is tested.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BundleError, MissingExtraError
from unmask.types import Pixels

KINDS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")


class Autoencoder(nn.Module, ABC):
    """Images (B, 3, H, W) in 0..1 to latents (B, channels, H / factor, W / factor) and back.

    Attributes:
        scale, shift: latents are (z - shift) scale, so that they have about unit variance.
    """

    channels: int
    factor: int
    scale: float = 1.0
    shift: float = 0.0

    def encode(self, image: Tensor) -> Tensor:
        """Sides are multiples of `factor`. Of a variational one: the mean, without a draw."""
        return (self.latents(2 * image - 1) - self.shift) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        """RGB in 0..1."""
        return ((self.image(z / self.scale + self.shift) + 1) / 2).clamp(0, 1)

    @abstractmethod
    def latents(self, image: Tensor) -> Tensor:
        """Of an image in -1..1."""

    @abstractmethod
    def image(self, z: Tensor) -> Tensor:
        """In about -1..1."""


class BlockDCT(Autoencoder):
    """The coefficients (u, v) with u + v < 3 of the orthonormal cosine transform of each 4 x 4 block and colour."""

    channels, factor, scale = 18, 4, 0.5

    def __init__(self) -> None:
        super().__init__()
        n = torch.arange(4.0)
        line = torch.cos(torch.pi * (2 * n[None] + 1) * n[:, None] / 8) * 2**-0.5
        line[0] *= 2**-0.5
        kept = [torch.outer(line[u], line[v]) for u in range(4) for v in range(4) if u + v < 3]
        self.register_buffer("basis", torch.stack(kept)[:, None].repeat(3, 1, 1, 1), persistent=False)  # (18, 1, 4, 4)

    def latents(self, image: Tensor) -> Tensor:
        return F.conv2d(image, self.get_buffer("basis"), stride=4, groups=3)

    def image(self, z: Tensor) -> Tensor:
        return F.conv_transpose2d(z, self.get_buffer("basis"), stride=4, groups=3)


class _Block(nn.Module):
    """Three convolutions beside a skip; where `wide`, normalised 1 x 1 ones before them."""

    def __init__(self, wide: bool, n: int = 64) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(n, n), nn.ReLU(), _conv(n, n), nn.ReLU(), _conv(n, n))
        self.pool = None
        if wide:
            inner = 4 * n
            self.pool = nn.Sequential(
                nn.Conv2d(n, inner, 1, bias=False), nn.GroupNorm(4, inner), nn.ReLU(),
                nn.Conv2d(inner, n, 1, bias=False),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


class _Bounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class TinyPair(Autoencoder):
    """TAESD's encoder and decoder, whose weights say how many latents there are and which blocks are wide."""

    factor = 8

    def __init__(self, encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> None:
        """Raises: BundleError for weights of another layout."""
        super().__init__()
        try:
            self.channels = len(encoder["14.bias"])
            self.encoder = nn.Sequential(*_encoder(self.channels, _wide(encoder)))
            self.decoder = nn.Sequential(*_decoder(self.channels, _wide(decoder)))
            self.encoder.load_state_dict({k: v.float() for k, v in encoder.items()})
            self.decoder.load_state_dict({k: v.float() for k, v in decoder.items()})
        except (KeyError, RuntimeError) as error:
            raise BundleError(f"these are no weights in TAESD's layout: {str(error).splitlines()[0]}") from None

    def latents(self, image: Tensor) -> Tensor:
        found: Tensor = self.encoder((image + 1) / 2)
        return found

    def image(self, z: Tensor) -> Tensor:
        found: Tensor = self.decoder(z)
        return 2 * found - 1


def _conv(n_in: int, n_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride, 1, bias=bias)


def _encoder(channels: int, wide: set[int]) -> list[nn.Module]:
    layers: list[nn.Module] = [_conv(3, 64)]
    for stage, blocks in enumerate((1, 3, 3, 3)):
        if stage:
            layers.append(_conv(64, 64, 2, bias=False))
        for _ in range(blocks):
            layers.append(_Block(len(layers) in wide))
    return [*layers, _conv(64, channels)]


def _decoder(channels: int, wide: set[int]) -> list[nn.Module]:
    layers: list[nn.Module] = [_Bounded(), _conv(channels, 64), nn.ReLU()]
    for blocks in (3, 3, 3):
        for _ in range(blocks):
            layers.append(_Block(len(layers) in wide))
        layers += [nn.Upsample(scale_factor=2), _conv(64, 64, bias=False)]
    return [*layers, _Block(len(layers) in wide), _conv(64, 3)]


def _wide(state: dict[str, Tensor]) -> set[int]:
    return {int(key.split(".")[0]) for key in state if key.endswith(".pool.0.weight")}


class FromDiffusers(Autoencoder):
    """An autoencoder of diffusers, by the factors of its own configuration."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        config = model.config
        self.channels = int(config.latent_channels)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.scale = float(getattr(config, "scaling_factor", None) or 1.0)
        self.shift = float(getattr(config, "shift_factor", None) or 0.0)

    def latents(self, image: Tensor) -> Tensor:
        found = self.model.encode(image)
        return found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents  # type: ignore[no-any-return]

    def image(self, z: Tensor) -> Tensor:
        return self.model.decode(z).sample  # type: ignore[no-any-return]


def load_autoencoder(weights: str) -> Autoencoder:
    """The autoencoder of a folder, or "dct"; frozen and in evaluation.

    Raises: BundleError for a folder that holds none, MissingExtraError where diffusers is needed and missing.
    """
    if weights == "dct":
        return BlockDCT()
    folder = Path(weights)
    if not folder.is_dir():
        raise BundleError(f"{weights} is no folder with an autoencoder: give a local one, nothing is downloaded")
    pair = [sorted(folder.glob(f"*{part}.safetensors")) for part in ("encoder", "decoder")]
    config = _config(folder)
    if all(len(found) == 1 for found in pair):
        found = TinyPair(load_tensors(pair[0][0]), load_tensors(pair[1][0])).eval().requires_grad_(False)
        found.scale = float(config.get("scaling_factor", 1.0))
        found.shift = float(config.get("shift_factor", 0.0))
        return found
    if config.get("_class_name") in KINDS:
        return FromDiffusers(from_folder(str(config["_class_name"]), folder))
    if (folder / "vae").is_dir():
        return load_autoencoder(str(folder / "vae"))
    raise BundleError(
        f"{folder} holds no autoencoder: neither *encoder.safetensors and *decoder.safetensors, nor a config.json of "
        f"diffusers' {', '.join(KINDS)}, nor a folder vae/ with either"
    )


def diffusers() -> Any:
    """The library. Raises: MissingExtraError."""
    try:
        import diffusers as library
    except ImportError:
        raise MissingExtraError("diffusers is not installed: pip install 'unmask[train,generate]'") from None
    return library


def from_folder(kind: str, folder: Path) -> Any:
    """A model of diffusers from a folder, of safetensors alone. Raises: BundleError for a folder that does not fit."""
    try:
        return getattr(diffusers(), kind).from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BundleError(f"{folder} cannot be read as diffusers' {kind}: {str(error).splitlines()[0]}") from None


def hashes(weights: str) -> dict[str, str]:
    """SHA-256 of each safetensors file below a folder, or of one file; none for weights that are made by a formula."""
    path = Path(weights)
    if path.is_file():
        return {path.name: _sha256(path)}
    return {p.relative_to(path).as_posix(): _sha256(p) for p in sorted(path.rglob("*.safetensors"))}


@cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises: BundleError for another file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} is no safetensors file: {error}") from None


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise BundleError(f"{folder / 'config.json'} is damaged: fetch the folder again") from None
    if not isinstance(found, dict):
        raise BundleError(f"{folder / 'config.json'} holds no settings: fetch the folder again")
    return found


def as_tensor(image: Pixels, factor: int = 1) -> Tensor:
    """Uint8 (H, W, 3) -> (1, 3, H', W') in 0..1, its right and lower edge repeated to multiples of `factor`."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None] / 255
    high, wide = planes.shape[2:]
    return F.pad(planes, (0, -wide % factor, 0, -high % factor), "replicate")


def as_pixels(image: Tensor, high: int, wide: int) -> Pixels:
    """(1, 3, H', W') in 0..1 -> uint8 (high, wide, 3), without what was added."""
    planes = (image[0, :, :high, :wide] * 255).round().clamp(0, 255).byte()
    return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())


@torch.inference_mode()
def round_trip(autoencoder: Autoencoder, image: Pixels) -> Pixels:
    """An image as the autoencoder repeats it."""
    planes = as_tensor(image, autoencoder.factor)
    return as_pixels(autoencoder.decode(autoencoder.encode(planes)), *image.shape[:2])
