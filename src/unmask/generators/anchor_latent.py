"""Image-to-image diffusion from an anchor, and a subject that a low-rank adapter has learnt: what both leave behind.

The denoising starts from an anchor's noised latents instead of from pure noise, so that the layout of the anchor is
inherited, the more the lower the strength. A subject is bound to a rare word by a few images of it, while images of its
class that the model made itself keep the class from drifting (DreamBooth). Here both make labelled positives at known
strengths from faces of people who agreed to it, or whom nobody is.

Chen, Suvidha Reddy et al., "Text-image guided Diffusion Model for generating Deepfake celebrity interactions",
arXiv 2309.14751, start from an anchor's latents; in closed form this is Meng et al., "SDEdit", ICLR 2022
(arXiv 2108.01073). Ruiz et al., "DreamBooth", CVPR 2023 (arXiv 2208.12242); Hu et al., "LoRA", ICLR 2022
(arXiv 2106.09685). The first paper's settings are not known here; the defaults are diffusers'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.base.generator import Forgery, Generator, Origin, Unforgeable
from unmask.base.prompts import checked_prompt
from unmask.data.donors import Donors, resized
from unmask.data.landmarks import Landmarks, soft_face
from unmask.errors import BundleError, InputError
from unmask.imageops.blending import blend
from unmask.nn.autoencoders import as_pixels, as_tensor, hashes, round_trip
from unmask.nn.diffusion import LatentDiffusion, denoised, load_diffusion, noised, normal, steps_run
from unmask.types import Pixels

CARD = {
    "title": "Anchored image-to-image diffusion",
    "paper": "arXiv 2309.14751; SDEdit, arXiv 2108.01073; DreamBooth, arXiv 2208.12242",
    "task": "a real face -> the same, noised and denoised by a diffusion model, in whole or inside the face",
    "licence": "Apache-2.0; weights are the user's, under their own terms (OpenRAIL forbids impersonation)",
    "verified": "start latents and steps in closed form, and diffusers' own image-to-image; no paper's tables",
    "needs": ("generate",),
    "small": {"weights": "untrained", "strengths": [0.02], "steps": 50, "side": 128},
}
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


class AnchorLatent(Generator):
    """One strength of a fixed grid each time, so that a test can say at which strength an edit is noticed."""

    needs_basis = True

    def __init__(
        self,
        *,
        weights: str = "",
        prompt: str = "a photo of a person",
        strengths: Sequence[float] = (0.2, 0.35, 0.5, 0.65),
        steps: int = 30,
        guidance: float = 6.0,
        inside: float = 0.5,
        lora: str = "",
        side: int = 0,
        control: bool = False,
    ) -> None:
        """
        Args:
            weights: a local folder of a latent diffusion model, see `unmask.nn.diffusion`; nothing is downloaded.
            prompt: in the closed vocabulary of `unmask.base.prompts`.
            strengths: one is drawn each time; int(steps strength) steps are run.
            inside: share of forgeries whose face alone is touched.
            lora: a file of low-rank weights, as `save_subject` and diffusers write it.
            side: at which the model is run, pixels; 0 = at which it was trained.
            control: while training, show the sources as the autoencoder repeats them, still real, so that a detector
                cannot learn the decoder instead of the edit.
        """
        if not weights:
            raise InputError("anchor_latent needs a diffusion model: --set anchor_latent.weights=FOLDER")
        if not strengths or not 0 <= inside <= 1 or side < 0:
            raise InputError(f"strengths are one or more, inside a share, side 0 or more, not {inside} and {side}")
        for strength in strengths:
            steps_run(steps, strength)
        self.weights, self.prompt, self.strengths = weights, checked_prompt(prompt), tuple(strengths)
        self.steps, self.guidance, self.inside, self.side = steps, guidance, inside, side
        self.lora, self.control = lora, control

    @cached_property
    def model(self) -> LatentDiffusion:
        model = load_diffusion(self.weights)
        if self.lora:
            load_subject(model, Path(self.lora))
        return model

    def origin(self) -> Origin:
        held = self.model.weights | (hashes(self.lora) if self.lora else {})
        return Origin(held, self.model.schedule, self.prompt)

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        strength = float(rng.choice(self.strengths))
        alpha = np.ones(image.shape[:2], np.float32)
        if rng.random() < self.inside:
            alpha = soft_face(face, image.shape[0])
            if alpha.max() < 0.5:
                raise Unforgeable("the face lies outside of the image")
        side = self.side or self.model.side
        made = from_anchor(self.model, image, strength, rng, self.prompt, self.guidance, self.steps, side)
        run = steps_run(self.steps, strength)
        details = {"strength": f"{strength:g}", "steps": str(self.steps), "steps_run": str(run)}
        return Forgery(blend(image, made, alpha), alpha, details=details | {"guidance": f"{self.guidance:g}"})

    def companion(
        self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None
    ) -> Pixels | None:
        return round_trip(self.model.autoencoder, image) if self.control else None


def from_anchor(
    model: LatentDiffusion,
    anchor: Pixels,
    strength: float,
    rng: np.random.Generator,
    prompt: str = "",
    guidance: float = 1.0,
    steps: int = 30,
    side: int = 0,
) -> Pixels:
    """An anchor, uint8 (S, S, 3), noised to a strength and denoised; painted at `side` pixels and made as large again.

    z_t0 = sqrt(abar_t0) s E(anchor) + sqrt(1 - abar_t0) noise, and DDIM from t0 = the first of the steps that are run.
    """
    given, side = anchor.shape[0], side or model.side
    image = as_tensor(anchor if given == side else resized(anchor, side), model.autoencoder.factor)
    with torch.no_grad():
        z0 = model.autoencoder.encode(image)
        run = model.steps(steps, strength)
        start = noised(z0, normal(rng, *z0.shape), model.kept(run[0]))
        made = as_pixels(model.autoencoder.decode(denoised(model, start, run, prompt, guidance)), side, side)
    return made if given == side else resized(made, given)


# --- a subject, by DreamBooth with low-rank adapters -----------------------------------------------------------------


def dreambooth_loss(predicted: Tensor, target: Tensor, subjects: int, prior: float = 1.0) -> Tensor:
    """Mean squared error on the subject's images, plus `prior` times that on the class's.

    Args:
        predicted, target: (B, C, h, w), the subject's images first.
        subjects: how many of the B are the subject's, 1 to B.
    """
    error = (predicted - target).square().flatten(1).mean(1)
    if subjects == len(error):
        return error.mean()
    return error[:subjects].mean() + prior * error[subjects:].mean()


def add_adapter(model: LatentDiffusion, rank: int = 4, seed: int = 0) -> list[torch.nn.Parameter]:
    """Low-rank adapters on the attention's linear maps, W + B A with alpha = rank; A is Gaussian, B zero.

    Returns: the adapters' parameters, the only ones of the network that can be trained.
    """
    import peft

    settings = peft.LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(settings, model.unet)
    for name, parameter in model.unet.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return [p for p in model.unet.parameters() if p.requires_grad]


def learn_subject(
    model: LatentDiffusion,
    subject: Tensor,
    class_samples: Tensor,
    *,
    words: tuple[str, str] = ("a photo of sks person", "a photo of a person"),
    prior: float = 1.0,
    steps: int = 400,
    batch: int = 2,
    lr: float = 1e-4,
    seed: int = 0,
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Trains the adapters of a model (`add_adapter` first) to paint a subject.

    Args:
        subject, class_samples: latents (N, C, h, w) of the subject's images, and of the model's own of the class.
        words: prompts of the subject and of its class, for a model with words.
        prior: weight of the class's term; 0 = none.
        told: called with each step and its loss.
    """
    rng, schedule = np.random.default_rng(seed), model.scheduler
    both = model.words([checked_prompt(w) for w in words]) if model.words else None
    adapters = [p for p in model.unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(adapters, lr)
    pools = (subject, class_samples) if prior else (subject,)
    for step in range(steps):
        z = torch.cat([pool[torch.from_numpy(rng.integers(len(pool), size=batch))] for pool in pools])
        noise = normal(rng, *z.shape)
        t = torch.from_numpy(rng.integers(schedule.config.num_train_timesteps, size=len(z)))
        given = None if both is None else both[: len(pools)].repeat_interleave(batch, 0)
        made = model.predicted(schedule.add_noise(z, noise, t), t, given)
        velocity = schedule.config.prediction_type == "v_prediction"
        target = schedule.get_velocity(z, noise, t) if velocity else noise
        loss = dreambooth_loss(made, target, batch, prior)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told(step, loss.item())


def sampled(model: LatentDiffusion, count: int, rng: np.random.Generator, prompt: str = "", steps: int = 30) -> Tensor:
    """Latents (count, C, h, w) that a model paints from noise alone: what the class looks like to it."""
    size = model.side // model.autoencoder.factor
    run = model.steps(steps)
    shape = (1, model.autoencoder.channels, size, size)
    return torch.cat([denoised(model, normal(rng, *shape), run, checked_prompt(prompt)) for _ in range(count)])


def save_subject(model: LatentDiffusion, path: Path) -> None:
    """The adapters alone, as safetensors in diffusers' names."""
    import peft
    from safetensors.torch import save_file

    state = peft.get_peft_model_state_dict(model.unet)
    save_file({f"unet.{name}": value.contiguous() for name, value in state.items()}, path)


def load_subject(model: LatentDiffusion, path: Path) -> None:
    """Puts adapters that were saved so into a model. Raises: BundleError for a file that does not fit."""
    import peft
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Mapping[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read as low-rank weights: {error}") from None
    held = {name.removeprefix("unet."): value for name, value in state.items()}
    ranks = {value.shape[0] for name, value in held.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise BundleError(f"{path} holds no low-rank weights of one rank for a UNet (keys with lora_A and lora_B)")
    add_adapter(model, ranks.pop())
    missing: Any = peft.set_peft_model_state_dict(model.unet, held)
    if missing.unexpected_keys:
        raise BundleError(f"{path} has weights for other layers, {missing.unexpected_keys[0]} the first")
    model.unet.requires_grad_(False)
