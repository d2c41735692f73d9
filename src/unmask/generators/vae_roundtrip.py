"""What a diffusion model's autoencoder does to an image, with nothing else changed: encoded, decoded, and put back.

Every image of a latent diffusion model has passed its decoder, and so has every unedited part of an image that such a
model edited as a whole. The round trip alone leaves the decoder's traces on a real face: a forgery without a forged
face, or the control that tells whether a detector sees the edit or the decoder.

Ricker, Lukovnikov and Fischer, "AEROBLADE", CVPR 2024 (arXiv 2401.17879), detect by how little such a round trip
changes; Mandelli et al. and others train on round trips. The autoencoder is Rombach et al.'s, CVPR 2022 (arXiv
2112.10752), or any other that a local folder holds.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from unmask.base.generator import Forgery, Generator, Origin, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import Landmarks, soft_face
from unmask.errors import InputError
from unmask.imageops.blending import blend
from unmask.nn.autoencoders import Autoencoder, hashes, load_autoencoder, round_trip
from unmask.types import Pixels

CARD = {
    "title": "Round trip through an autoencoder",
    "paper": "autoencoders as in Rombach et al., CVPR 2022, arXiv 2112.10752; as a forgery it is ours",
    "task": "a real face -> the same, encoded and decoded, in whole or inside the face",
    "licence": "Apache-2.0; weights are the user's, under their own terms",
    "verified": "diffusers' AutoencoderKL and AutoencoderTiny give the same pixels; TAEF2's round trip in decibels",
    "small": {"weights": "dct"},
}


class VAERoundTrip(Generator):
    """One or more round trips of the whole image, or of the face with a soft edge."""

    def __init__(self, *, weights: str = "", inside: float = 0.4, most: int = 2) -> None:
        """
        Args:
            weights: a folder with an autoencoder, see `unmask.nn.autoencoders`; nothing is downloaded.
            inside: share of forgeries whose face alone is touched.
            most: round trips, one to so many.
        """
        if not weights:
            raise InputError("vae_roundtrip needs an autoencoder: --set vae_roundtrip.weights=FOLDER")
        if not 0 <= inside <= 1 or most < 1:
            raise InputError(f"inside is a share and most 1 or more, not {inside} and {most}")
        self.weights, self.inside, self.most = weights, inside, most

    @cached_property
    def autoencoder(self) -> Autoencoder:
        return load_autoencoder(self.weights)

    def origin(self) -> Origin:
        return Origin(weights=hashes(self.weights))

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        trips, out = int(rng.integers(1, self.most + 1)), image
        for _ in range(trips):
            out = round_trip(self.autoencoder, out)
        alpha = np.ones(image.shape[:2], np.float32)
        if rng.random() < self.inside:
            alpha = soft_face(face, image.shape[0])
            if alpha.max() < 0.5:
                raise Unforgeable("the face lies outside of the image")
        return Forgery(blend(image, out, alpha), alpha, details={"trips": str(trips)})
