"""LaDI-VTON: a garment painted onto a person by latent diffusion, all else kept by skips past the autoencoder.

An inpainting model gets pose and warped garment beside mask and masked image, in new input channels that begin at
zero. Textual inversion turns the garment's image into pseudo-words of the prompt. Skips from the encoder of the masked
image to the decoder (EMASC), masked to what is not repainted, keep faces and background sharp, so that only the
clothes betray the edit: a hard case for localisation, and the face is real while the clothes are not.

Morelli, Baldrati, Cartella, Cornia, Bertini and Cucchiara, "LaDI-VTON", ACM MM 2023 (arXiv 2305.13501). Its published
weights (CC BY-NC 4.0) are read by their names, from safetensors that the user makes of them. Otherwise than there: on
crops of faces the garment is the look-alike's, cut below the chin, and the pose has nose, eyes and ears alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.generator import Forgery, FromLookAlike, Origin, Unforgeable
from unmask.data.donors import Donors, resized
from unmask.data.landmarks import Landmarks, filled
from unmask.errors import BundleError, InputError
from unmask.imageops.blending import blend, blur
from unmask.nn.autoencoders import FromDiffusers, as_pixels, as_tensor, hashes, load_tensors
from unmask.nn.diffusion import UNTRAINED, LatentDiffusion, denoised, load_diffusion, normal, steps_run, untrained
from unmask.nn.garments import Refinement, Warping, worn
from unmask.types import Floats, Pixels

CARD = {
    "title": "LaDI-VTON (virtual try-on)",
    "paper": "Morelli et al., ACM MM 2023, arXiv 2305.13501",
    "task": "a real person and another's garment -> the person with it, and the mask of the clothes",
    "licence": "Apache-2.0; the authors' weights are CC BY-NC 4.0, the base model's terms are its own",
    "verified": "surgery, pseudo-words, EMASC and spline in closed form; names of published layers; no number of it",
    "needs": ("generate",),
    "small": {"weights": "untrained", "steps": 2},
}
POSE, WORDS, PLACEHOLDER = 18, 16, "$</w>"
Category = Literal["upper", "lower", "dress"]
SAID = {"upper": "an upper body garment", "lower": "a lower body garment", "dress": "a dress"}
M = TypeVar("M", bound=nn.Module)


class LadiVton(FromLookAlike):
    """The clothes below the chin, repainted with a look-alike's."""

    needs_basis = True

    def __init__(
        self,
        *,
        weights: str = "",
        parts: str = "",
        category: Category = "upper",
        steps: int = 50,
        guidance: float = 7.5,
        among: int = 100,
    ) -> None:
        """
        Args:
            weights: a local folder of an inpainting model of Stable Diffusion 2's family; nothing is downloaded.
            parts: a folder with any of unet, emasc, inversion_adapter, tps and refinement (.safetensors, LaDI-VTON's
                names) and image_encoder/ (CLIP's, for the adapter); what is missing is left out, or at its start.
            among: garments come from so many look-alikes.
        """
        super().__init__(among=among, looked_at=1)
        if not weights:
            raise InputError("ladi_vton needs an inpainting model: --set ladi_vton.weights=FOLDER")
        steps_run(steps, 1.0)
        self.weights, self.parts, self.category = weights, parts, category
        self.steps, self.guidance = steps, guidance

    @cached_property
    def model(self) -> LatentDiffusion:
        """The inpainting model with pose and garment in its input."""
        model = untrained(masked=True) if self.weights == UNTRAINED else load_diffusion(self.weights)
        if not model.inpaints:
            raise BundleError(f"{self.weights} does not inpaint: its network must take a mask and what is known")
        extend(model.unet, POSE + model.autoencoder.channels)
        self._filled("unet", model.unet)
        return model

    @cached_property
    def warping(self) -> Warping:
        found = Warping() if self._has("tps") else Warping(width=8)
        return self._filled("tps", found, ("gridGen.",)).eval()

    @cached_property
    def refinement(self) -> Refinement | None:
        return self._filled("refinement", Refinement()).eval() if self._has("refinement") else None

    @cached_property
    def emasc(self) -> EMASC | None:
        held = self.model.autoencoder
        if not self._has("emasc") or not isinstance(held, FromDiffusers):
            return None
        return self._filled("emasc", EMASC(tuple(held.model.config.block_out_channels))).eval()

    def origin(self) -> Origin:
        held = {} if self.weights == UNTRAINED else hashes(self.weights)
        parts = hashes(self.parts) if self.parts else {}
        return Origin(held | parts, self.model.schedule, prompt(self.category, 0))

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        side, native = image.shape[0], self.model.side
        donor = self.look_alike(face, side, rng, donors)
        hole, given = clothes(face, side), clothes(donor.face, side)
        if hole.sum() < 16 or given.sum() < 16:
            raise Unforgeable("there are no clothes below the chin: cut crops with a larger margin")
        rows = np.flatnonzero(given.any(1))
        garment = np.ascontiguousarray(donor.image[rows[0] : rows[-1] + 1])
        alpha = np.maximum(hole, blur(hole, 0.03 * face.eyes)).clip(0, 1)
        alpha = np.where(alpha < 1 / 255, 0, alpha).astype(np.float32)
        made = self._painted(image, alpha > 0, garment, face, rng, native)
        details = {"donor": donor.name, "region": "clothes", "category": self.category}
        return Forgery(blend(image, made, alpha), alpha, details=details)

    def _painted(
        self, image: Pixels, hole: Any, garment: Pixels, face: Landmarks, rng: np.random.Generator, native: int
    ) -> Pixels:
        model, side = self.model, image.shape[0]
        person = 2 * as_tensor(resized(image, native)) - 1
        mask = (
            F.interpolate(torch.from_numpy(hole)[None, None].float(), size=(native, native), mode="area") > 0
        ).float()
        cloth = (
            2 * as_tensor(np.asarray(cv2.resize(garment, (native, native), interpolation=cv2.INTER_AREA), np.uint8)) - 1
        )
        pose = torch.from_numpy(pose_map(face, side, native))[None]
        masked = person * (1 - mask)
        warped = worn(self.warping, self.refinement, cloth, masked, pose)
        with torch.no_grad():
            z, steps = self._latents(mask, masked, pose, warped, rng), model.steps(self.steps)
            after, known, without = z
            done = denoised(
                model, after, steps, prompt(self.category, 0), self.guidance, known=known, known_without=without,
                words=self._words(cloth),
            )  # fmt: skip
            held = model.autoencoder
            if self.emasc is not None and isinstance(held, FromDiffusers):
                skips = self.emasc(encoder_features(held.model, masked), mask)
                made = ((decoded_with(held.model, done / held.scale + held.shift, skips) + 1) / 2).clamp(0, 1)
            else:
                made = held.decode(done)
        return resized(as_pixels(made, native, native), side)

    def _latents(
        self, mask: Tensor, masked: Tensor, pose: Tensor, warped: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Noise, what is known beside it, and the same without pose and garment, for the unguided branch."""
        held = self.model.autoencoder
        seen, cloth = held.encode((masked + 1) / 2), held.encode((warped + 1) / 2)
        size = seen.shape[2:]
        at, small = F.interpolate(mask, size=size), F.interpolate(pose, size=size, mode="bilinear")
        known = torch.cat([at, seen, small, cloth], 1)
        without = torch.cat([at, seen, torch.zeros_like(small), torch.zeros_like(cloth)], 1)
        return normal(rng, *seen.shape), known, without

    def _words(self, garment: Tensor) -> Tensor | None:
        """(2, L, D): the prompt with the garment's pseudo-words, and the empty one."""
        words = self.model.words
        if words is None or not self._has("inversion_adapter"):
            return None
        adapter, encoder = self.adapter
        size = encoder.config.image_size
        mean, std = torch.tensor([[0.481, 0.458, 0.408], [0.269, 0.261, 0.276]]).view(2, 1, 3, 1, 1)
        seen = (F.interpolate((garment + 1) / 2, size=(size, size), mode="bicubic", antialias=True) - mean) / std
        vectors = adapter(encoder(seen).last_hidden_state).view(1, WORDS, -1)
        said = pseudo_words(words, [prompt(self.category, WORDS)], vectors)
        return torch.cat([said, words([""])])

    @cached_property
    def adapter(self) -> tuple[InversionAdapter, Any]:
        """The adapter, and CLIP's image encoder whose states it reads."""
        from transformers import CLIPVisionModel

        folder, state = (
            Path(self.parts) / "image_encoder",
            load_tensors(Path(self.parts) / "inversion_adapter.safetensors"),
        )
        try:
            encoder = CLIPVisionModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise BundleError(f"{folder} holds no image encoder: {str(error).splitlines()[0]}") from None
        adapter = InversionAdapter(encoder.config, len(state["layers.6.bias"]))
        return self._filled("inversion_adapter", adapter).eval(), encoder.requires_grad_(False).train(False)

    def _has(self, part: str) -> bool:
        return bool(self.parts) and (Path(self.parts) / f"{part}.safetensors").is_file()

    def _filled(self, part: str, module: M, ignored: tuple[str, ...] = ()) -> M:
        """The module with its published weights, where they are. Raises: BundleError for others."""
        module.requires_grad_(False)
        if not self._has(part):
            return module
        path = Path(self.parts) / f"{part}.safetensors"
        state = {k: v for k, v in load_tensors(path).items() if not k.startswith(ignored)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise BundleError(f"{path} does not fit LaDI-VTON's {part}: {str(error).splitlines()[1].strip()}") from None
        return module


# --- the parts, each usable by itself --------------------------------------------------------------------------------


def extend(unet: Any, more: int) -> None:
    """Rebuilds a network's first convolution with `more` input channels whose weights are zero: 9 become 31 with 22.

    What it gives is bitwise the same for any content of the new channels, until it is trained.
    """
    old: nn.Conv2d = unet.conv_in
    new = nn.Conv2d(old.in_channels + more, old.out_channels, old.kernel_size, old.stride, old.padding)  # type: ignore[arg-type]
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        assert new.bias is not None and old.bias is not None
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)


class EMASC(nn.Module):
    """Enhanced mask-aware skip connections: each feature of the encoder through two convolutions, where unmasked."""

    def __init__(self, widths: Sequence[int] = (128, 256, 512, 512)) -> None:
        """`widths`: of the autoencoder's blocks."""
        super().__init__()
        first, last = widths[0], list(widths)
        given = [first, first, *last[:-1]]
        taken = [first, *(last[min(i + 1, len(last) - 1)] for i in range(len(last)))]
        self.conv = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, n, 3, padding=1), nn.SiLU(), nn.Conv2d(n, m, 3, padding=1))
            for n, m in zip(given, taken, strict=True)
        )

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
        """Skips from features of the masked image, 0 where `mask` (B, 1, H, W) is 1: what is repainted has none."""
        return [
            conv(f) * (1 - F.interpolate(mask, size=f.shape[2:])) for conv, f in zip(self.conv, features, strict=True)
        ]


def encoder_features(vae: Any, image: Tensor) -> list[Tensor]:
    """Of diffusers' AutoencoderKL: what its first convolution gives, and what goes into each of its blocks.

    Args:
        image: (B, 3, H, W) in -1..1.
    """
    x = vae.encoder.conv_in(image)
    features = [x]
    for block in vae.encoder.down_blocks:
        features.append(x)
        x = block(x)
    return features


def decoded_with(vae: Any, z: Tensor, skips: Sequence[Tensor]) -> Tensor:
    """Latents decoded with skips: the deepest before the first block, the last before the last convolution."""
    decoder, left = vae.decoder, list(skips)
    x = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(z) if vae.post_quant_conv is not None else z))
    for block in decoder.up_blocks:
        x = block(x + left.pop())
    found: Tensor = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)) + left.pop())
    return found


class InversionAdapter(nn.Module):
    """CLIP's states of a garment (B, P, D) -> `out` numbers, the pseudo-words one after another."""

    def __init__(self, config: Any, out: int, dropout: float = 0.5) -> None:
        """`config`: transformers' CLIPVisionConfig."""
        from transformers.models.clip.modeling_clip import CLIPEncoderLayer

        super().__init__()
        n = int(config.hidden_size)
        if getattr(config, "_attn_implementation", None) is None:
            config._attn_implementation = "eager"
        self.encoder_layers = nn.ModuleList([CLIPEncoderLayer(config)])
        self.post_layernorm = nn.LayerNorm(n, eps=config.layer_norm_eps)
        self.layers = nn.Sequential(
            nn.Linear(n, 4 * n), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * n, 4 * n), nn.GELU(),
            nn.Dropout(dropout), nn.Linear(4 * n, out),
        )  # fmt: skip

    def forward(self, states: Tensor) -> Tensor:
        for layer in self.encoder_layers:
            made = layer(states, None)
            states = made if isinstance(made, Tensor) else made[0]  # transformers before 5 gives a tuple
        found: Tensor = self.layers(self.post_layernorm(states[:, 0]))
        return found


def prompt(category: Category, words: int) -> str:
    """The paper's prompt, with so many places for pseudo-words."""
    return f"a photo of a model wearing {SAID[category]}{' $' * words}"


def pseudo_words(words: Any, prompts: Sequence[str], vectors: Tensor, placeholder: int | None = None) -> Tensor:
    """Prompts encoded with vectors in place of the embeddings of their placeholders, before positions are added.

    Args:
        words: a model's `Prompts`.
        vectors: (B, N, D); the first N placeholders of a prompt are replaced, others and other prompts stay.
        placeholder: its token; None = that of "$" in the tokenizer.
    Raises: BundleError for a tokenizer without it.
    """
    token = words.tokenizer.convert_tokens_to_ids(PLACEHOLDER) if placeholder is None else placeholder
    if token is None or token == words.tokenizer.unk_token_id:
        raise BundleError('the tokenizer has no word "$" to put a garment in its place')
    ids = words.ids(prompts)
    place = ids == token

    def replace(module: nn.Module, given: Any, made: Tensor) -> Tensor:
        count = place.cumsum(1)
        wanted = place & (count <= vectors.shape[1])
        out = made.clone()
        row, column = wanted.nonzero(as_tuple=True)
        out[row, column] = vectors[row, count[row, column] - 1].to(made)
        return out

    hook = words.embedding.register_forward_hook(replace)
    try:
        found: Tensor = words.encode(ids)
    finally:
        hook.remove()
    return found


def clothes(face: Landmarks, side: int) -> Floats:
    """What lies below the chin and outside of the face: float32 (side, side), 0 or 1."""
    below = np.arange(side)[:, None] > float(face.points[8, 1]) + 0.05 * face.eyes
    return np.asarray(below * (1 - filled(face.outline, side)), np.float32)


def pose_map(face: Landmarks, side: int, native: int) -> Floats:
    """(18, native, native) in 0..1: a disc for each of OpenPose's body points that a face has: nose, eyes, ears."""
    scale, radius = native / side, max(1, round(5 * native / 512))
    right, left, nose = face.five[0], face.five[1], face.five[2]
    known = {0: nose, 14: right, 15: left, 16: face.points[0], 17: face.points[16]}
    maps = np.zeros((POSE, native, native), np.float32)
    for n, point in known.items():
        x, y = (round(float(v) * scale) for v in point)
        cv2.circle(maps[n], (x, y), radius, (1.0,), -1)
    return maps
