"""Local edits with a known mask: a part of the face, of the background or of the clothes is removed and filled again.

The commonest edits of today are of this kind: an eraser takes something away and fills the hole from what is around
it, or a diffusion model paints something into it. All else in the image stays real, so the label is a mask.

With OpenCV the hole is filled by Telea, "An Image Inpainting Technique Based on the Fast Marching Method", J. Graphics
Tools 2004. With a local diffusion model the latents outside of the hole are put back after each step, as in Lugmayr et
al., "RePaint", CVPR 2022 (arXiv 2201.09865), without its repeated steps; a model with a mask in its input is given it,
as in Rombach et al., CVPR 2022 (arXiv 2112.10752). Regions and shapes of the holes are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from unmask.base.generator import Forgery, Generator, Origin, Unforgeable
from unmask.base.prompts import checked_prompt
from unmask.data.donors import Donors, resized
from unmask.data.landmarks import Landmarks, filled
from unmask.errors import InputError
from unmask.imageops.blending import bend, blend, blur
from unmask.nn.autoencoders import as_pixels, as_tensor
from unmask.nn.diffusion import LatentDiffusion, denoised, load_diffusion, noised, normal, steps_run
from unmask.types import Floats, Pixels

CARD = {
    "title": "Inpainting of a part",
    "paper": "Telea, J. Graphics Tools 2004; after Lugmayr et al., CVPR 2022, arXiv 2201.09865; regions are ours",
    "task": "a real face -> the same with a hole in face, background or clothes filled again, and the hole's mask",
    "licence": "Apache-2.0; weights are the user's, under their own terms",
    "verified": "what is outside of the hole stays bitwise real; known latents at each step in closed form",
}
REGIONS = ("face", "background", "clothes")


class Inpaint(Generator):
    """One hole in one region; where the region is not in the image, another of those asked for."""

    def __init__(
        self,
        *,
        weights: str = "",
        regions: Sequence[str] = REGIONS,
        prompt: str = "",
        strength: float = 1.0,
        steps: int = 30,
        guidance: float = 5.0,
        whole: float = 0.3,
    ) -> None:
        """
        Args:
            weights: a local folder of a latent diffusion model; empty = OpenCV fills the hole.
            regions: of face, background, clothes; tried in random order.
            prompt: for a model with words, see `unmask.base.prompts`.
            strength: share of the steps that are run, from noise (1) or from what was there.
            whole: share of a model's holes that are all of the region; OpenCV cannot fill those.
        """
        if not regions or not set(regions) <= set(REGIONS) or not 0 <= whole <= 1:
            raise InputError(f"regions are of {', '.join(REGIONS)} and whole a share, not {list(regions)} and {whole}")
        steps_run(steps, strength)
        self.weights, self.regions, self.prompt = weights, tuple(regions), checked_prompt(prompt)
        self.strength, self.steps, self.guidance = strength, steps, guidance
        self.whole = whole if weights else 0.0

    @cached_property
    def model(self) -> LatentDiffusion:
        return load_diffusion(self.weights)

    def origin(self) -> Origin:
        if not self.weights:
            return Origin()
        return Origin(self.model.weights, self.model.schedule, self.prompt)

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        for name in rng.permutation(np.array(self.regions)):
            area = region(face, str(name), image.shape[0])
            hole = area if rng.random() < self.whole else stroke(area, face.eyes, rng)
            if hole.sum() < 16:
                continue
            alpha = soft(hole, 0.04 * face.eyes)
            filling = self._filled(image, alpha > 0, rng)
            return Forgery(blend(image, filling, alpha), alpha, details={"region": str(name), "fill": self.fill})
        raise Unforgeable(f"none of {', '.join(self.regions)} lies in the image")

    @property
    def fill(self) -> str:
        return "diffusion" if self.weights else "telea"

    def _filled(self, image: Pixels, hole: np.typing.NDArray[np.bool_], rng: np.random.Generator) -> Pixels:
        if self.weights:
            return painted(self.model, image, hole, rng, self.prompt, self.guidance, self.steps, self.strength)
        return np.asarray(cv2.inpaint(image, hole.astype(np.uint8), 5, cv2.INPAINT_TELEA), np.uint8)


def region(face: Landmarks, name: str, side: int) -> Floats:
    """Where a region of REGIONS lies: float32 (side, side), 0 or 1. Hair is neither face nor background."""
    inside = filled(face.outline, side)
    if name == "face":
        return inside
    chin = float(face.points[8, 1]) + 0.05 * face.eyes
    below = (np.arange(side) > chin)[:, None] * np.ones((side, side), np.float32)
    if name == "clothes":
        return np.asarray(below * (1 - inside), np.float32)
    up = np.array([0, 0.7 * face.eyes], np.float32)
    head = filled(np.concatenate([face.outline, face.outline - up]), side)
    reach = max(1, round(0.35 * face.eyes))
    head = np.asarray(cv2.dilate(head, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), np.float32)
    return np.asarray((1 - head) * (1 - below), np.float32)


def stroke(area: Floats, eyes: float, rng: np.random.Generator) -> Floats:
    """A bent ellipse as a brush would leave it, round a random place of an area and within it: 0 or 1."""
    rows, columns = np.nonzero(area)
    brush = np.zeros_like(area)
    if not len(rows):
        return brush
    n = int(rng.integers(len(rows)))
    wide, high = (max(2, round(float(rng.uniform(0.2, 0.45)) * eyes)) for _ in range(2))
    place = (int(columns[n]), int(rows[n]))
    cv2.ellipse(brush, place, (wide, high), float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
    bent = bend(brush, rng, 0.12 * eyes, 0.25 * len(area))
    return np.asarray((bent > 0.5) * area, np.float32)


def soft(hole: Floats, edge: float) -> Floats:
    """The hole with an edge that falls outwards, `edge` pixels wide; 1 inside."""
    wide = np.maximum(hole, blur(hole, max(0.5, edge)))
    return np.where(wide < 1 / 255, 0, wide).clip(0, 1).astype(np.float32)


def painted(
    model: LatentDiffusion,
    image: Pixels,
    hole: np.typing.NDArray[np.bool_],
    rng: np.random.Generator,
    prompt: str = "",
    guidance: float = 1.0,
    count: int = 30,
    strength: float = 1.0,
) -> Pixels:
    """An image whose hole a diffusion model has filled, at the side that the model was trained on, and back.

    Args:
        image: uint8 (S, S, 3).
        hole: (S, S).
    """
    side, native = image.shape[0], model.side
    given = as_tensor(resized(image, native) if side != native else image, model.autoencoder.factor)
    mask = F.interpolate(torch.from_numpy(hole.astype(np.float32))[None, None], size=given.shape[2:], mode="area")
    mask = (mask > 0).float()
    with torch.no_grad():
        z0 = model.autoencoder.encode(given)
        at = F.max_pool2d(mask, model.autoencoder.factor)  # latents that the hole touches are painted
        known = None
        if model.inpaints:
            known = torch.cat([at, model.autoencoder.encode(given * (1 - mask) + 0.5 * mask)], 1)
        noise, steps = normal(rng, *z0.shape), model.steps(count, strength)

        def put_back(z: torch.Tensor, t: int) -> torch.Tensor:
            return at * z + (1 - at) * noised(z0, noise, model.kept(t))

        start = noise if strength >= 1 else noised(z0, noise, model.kept(steps[0]))
        z = denoised(model, start, steps, prompt, guidance, known=known, after=put_back)
        made = as_pixels(model.autoencoder.decode(z), native, native)
    return resized(made, side) if side != native else made
