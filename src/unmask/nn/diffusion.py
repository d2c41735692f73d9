"""Latent diffusion from local folders, on diffusers' components, in plain functions over latents.

What is read: a pipeline's folder of the Stable Diffusion 1 and 2 family (`unet/`, `vae/`, `scheduler/`, `tokenizer/`,
`text_encoder/`), its inpainting variants with a mask in the input, and models without words (UNet2DModel) in the same
layout. Sampling is DDIM without noise (Song, Meng and Ermon, ICLR 2021, arXiv 2010.02502), by the folder's own noise
schedule. SDXL and later need more conditions than are given here, and are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unmask.errors import BundleError, InputError
from unmask.nn.autoencoders import Autoencoder, BlockDCT, diffusers, from_folder, hashes, load_autoencoder

UNTRAINED = "untrained"
Words = Callable[[Sequence[str]], Tensor]


@dataclass
class LatentDiffusion:
    """A diffusion model in an autoencoder's latents.

    Attributes:
        unet: diffusers' UNet2DModel or UNet2DConditionModel.
        scheduler: diffusers' DDIMScheduler; it holds no state between calls but its steps.
        words: prompts -> (B, L, D), None for a model without words.
        side: of the images that it was trained on, pixels.
        weights: file -> sha256.
    """

    autoencoder: Autoencoder
    unet: nn.Module
    scheduler: Any
    words: Words | None
    side: int
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def inpaints(self) -> bool:
        """Whether the network takes a mask and the latents of what is known beside the noisy latents."""
        return int(self.unet.config.in_channels) == 2 * self.autoencoder.channels + 1  # type: ignore[union-attr,arg-type]

    @property
    def schedule(self) -> str:
        """The scheduler's class and settings, for the record."""
        named = {k: v for k, v in self.scheduler.config.items() if not k.startswith("_")}
        return f"DDIMScheduler {json.dumps(named, sort_keys=True, default=str)}"

    def predicted(self, z: Tensor, t: Tensor | int, words: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """What the network says of noisy latents (B, C, h, w) at step `t`: the noise, or the velocity.

        Args:
            words: (B, L, D), for a model with words.
            known: (B, 1 + C, h, w), mask and latents of what is known, for one that inpaints.
        """
        x = z if known is None else torch.cat([z, known], 1)
        made = self.unet(x, t) if words is None else self.unet(x, t, encoder_hidden_states=words)
        return torch.as_tensor(made.sample)

    def steps(self, count: int, strength: float = 1.0) -> list[int]:
        """The steps that are run, from noisy to clean: the last int(count strength) of `count`.

        Raises: InputError where that is none.
        """
        run = steps_run(count, strength)
        self.scheduler.set_timesteps(count)
        return [int(t) for t in self.scheduler.timesteps[count - run :]]

    def kept(self, t: int) -> float:
        """The share of the signal's variance that is left at step `t`, the papers' abar_t; 1 before the first step."""
        if t < 0:
            return float(self.scheduler.final_alpha_cumprod)
        return float(self.scheduler.alphas_cumprod[t])


def steps_run(count: int, strength: float) -> int:
    """How many of `count` steps are run at a strength. Raises: InputError where that is none."""
    run = min(int(count * strength), count)
    if not 0 < strength <= 1 or run < 1:
        raise InputError(f"strength {strength} of {count} steps runs no step: strength times steps must be 1 or more")
    return run


def noised(z: Tensor, noise: Tensor, kept: float) -> Tensor:
    """sqrt(abar) z + sqrt(1 - abar) noise."""
    return math.sqrt(kept) * z + math.sqrt(1 - kept) * noise


def guided(without: Tensor, with_words: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: eps_u + g (eps_c - eps_u)."""
    return without + scale * (with_words - without)


@torch.no_grad()
def denoised(
    model: LatentDiffusion,
    z: Tensor,
    steps: Sequence[int],
    prompt: str = "",
    guidance: float = 1.0,
    *,
    known: Tensor | None = None,
    known_without: Tensor | None = None,
    words: Tensor | None = None,
    after: Callable[[Tensor, int], Tensor] = lambda z, t: z,
) -> Tensor:
    """Latents after DDIM's steps without noise.

    Args:
        z: (1, C, h, w) at the noise of `steps[0]`.
        steps: from `LatentDiffusion.steps`, so that the scheduler knows them.
        prompt, guidance: not looked at by a model without words; guidance 1 or less = none.
        known: see `LatentDiffusion.predicted`; `known_without` in its place where the prompt is empty, if given.
        words: (2, L, D) states of a prompt and of the empty one, in place of `prompt`.
        after: what becomes of the latents that have the noise of a step (-1 = none), e.g. putting back what is known.
    """
    both = words if words is not None else model.words([prompt, ""]) if model.words else None
    given = None if known is None else torch.cat([known, known if known_without is None else known_without])
    for n, t in enumerate(steps):
        if both is None:
            made = model.predicted(z, t, None, known)
        elif guidance <= 1:
            made = model.predicted(z, t, both[:1], known)
        else:
            with_words, without = model.predicted(z.repeat(2, 1, 1, 1), t, both, given).chunk(2)
            made = guided(without, with_words, guidance)
        z = model.scheduler.step(made, t, z).prev_sample
        z = after(z, steps[n + 1] if n + 1 < len(steps) else -1)
    return z


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    """Standard normal numbers that depend on nothing but `rng`."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


# --- folders ---------------------------------------------------------------------------------------------------------


def load_diffusion(weights: str) -> LatentDiffusion:
    """A model from a pipeline's folder, frozen and in evaluation; "untrained" is a tiny one for tests.

    Raises: BundleError for a folder that cannot be used, MissingExtraError without diffusers.
    """
    if weights == UNTRAINED:
        return untrained()
    folder = Path(weights)
    if not (folder / "unet" / "config.json").is_file():
        raise BundleError(f"{weights} is no folder of a latent diffusion model: it has no unet/config.json")
    config = json.loads((folder / "unet" / "config.json").read_text("utf-8"))
    kind = config.get("_class_name")
    if kind not in ("UNet2DModel", "UNet2DConditionModel") or config.get("addition_embed_type"):
        raise BundleError(
            f"{folder} holds a {kind} that needs more than words: use one of the Stable Diffusion 1 or 2 family, or a "
            "UNet2DModel"
        )
    unet = from_folder(kind, folder / "unet").eval().requires_grad_(False)
    autoencoder = load_autoencoder(str(folder / "vae"))
    words = _words(folder) if kind == "UNet2DConditionModel" else None
    size = config.get("sample_size") or 64
    side = autoencoder.factor * int(size if isinstance(size, int) else max(size))
    model = LatentDiffusion(autoencoder, unet, _ddim(folder / "scheduler"), words, side, hashes(weights))
    expected = (autoencoder.channels, 2 * autoencoder.channels + 1)
    if config.get("in_channels") not in expected:
        raise BundleError(f"{folder}: the network takes {config.get('in_channels')} channels, not {expected}")
    return model


def _ddim(folder: Path) -> Any:
    library = diffusers()
    try:
        settings = library.DDIMScheduler.load_config(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} holds no scheduler: {str(error).splitlines()[0]}") from None
    return library.DDIMScheduler.from_config(settings, clip_sample=False, thresholding=False)


class Prompts:
    """CLIP's text encoder: prompts -> states (B, L, D), L as many tokens as it was trained on."""

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder.requires_grad_(False).train(False)

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return self.encode(self.ids(prompts))

    @property
    def embedding(self) -> nn.Module:
        """Of the tokens, before positions are added."""
        found: nn.Module = self.encoder.get_input_embeddings()
        return found

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """(B, L) tokens, padded."""
        length = min(self.tokenizer.model_max_length, self.encoder.config.max_position_embeddings)
        made = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return torch.as_tensor(made.input_ids)

    def encode(self, ids: Tensor) -> Tensor:
        return torch.as_tensor(self.encoder(ids)[0])


def _words(folder: Path) -> Prompts:
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
        encoder = CLIPTextModel.from_pretrained(
            str(folder / "text_encoder"), local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} holds no text encoder: {str(error).splitlines()[0]}") from None
    return Prompts(tokenizer, encoder)


def untrained(seed: int = 0, *, masked: bool = False) -> LatentDiffusion:
    """A tiny network with random weights in the latents of `BlockDCT`: it paints nothing, and tests what is around it.

    Args:
        masked: whether its input has a mask and known latents.
    """
    library, autoencoder = diffusers(), BlockDCT()
    c = autoencoder.channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = library.UNet2DModel(
            sample_size=16, in_channels=2 * c + 1 if masked else c, out_channels=c, layers_per_block=1,
            block_out_channels=(16, 16), norm_num_groups=4, attention_head_dim=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
    scheduler = library.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
        set_alpha_to_one=False,
    )  # fmt: skip
    return LatentDiffusion(autoencoder, unet.eval().requires_grad_(False), scheduler, None, 64)
