"""cMIM: an autoencoder whose code says as much as it can about the image, and of which image it is.

The idea in three sentences. A Mutual Information Machine is trained like a variational autoencoder with one sign
turned: the posterior is rewarded for being sharp, which keeps information in the code where the VAE washes it out.
cMIM adds the likelihood that a code is picked out among the others of the batch by its direction, against the mean of
the others, so that it needs no augmented positives and hardly depends on the batch's size. The decoder's activations
before the last layer are the features to use (informative embeddings).

Livne: "Contrastive Mutual Information Learning: Toward Robust Representations without Positive-Pair Augmentations",
arXiv 2509.21511; MIM: Livne, Swersky and Fleet, arXiv 1910.03175. A-MIM (one term per data sample) and the VAE of
Kingma and Welling, ICLR 2014, are its controls. The contrastive likelihood is from memory of the paper.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.errors import InputError
from unmask.nn.contrastive import cosines, info_nce
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "cMIM (contrastive Mutual Information Machine), A-MIM, VAE",
    "paper": "Livne, arXiv 2509.21511 and 2502.19642",
    "task": "one image -> a code, a reconstruction and the decoder's features",
    "licence": "Apache-2.0",
    "verified": "likelihoods against torch.distributions, losses by hand; the contrastive term is from memory",
    "small": {"network": "tiny-resnet", "size": 32, "code": 16, "width": 16},
}


def gaussian(x: Tensor, mean: Tensor, log_var: Tensor | float) -> Tensor:
    """log N(x; mean, exp(log_var) I), summed over all dimensions but the first: (B, ...) -> (B,), in nats."""
    log_var = torch.as_tensor(log_var, dtype=x.dtype, device=x.device)
    each = -0.5 * (math.log(2 * math.pi) + log_var + (x - mean).square() * (-log_var).exp())
    return each.flatten(1).sum(1)


def same_code(z: Tensor, temperature: float = 0.1) -> Tensor:
    """log p_k(i) = s_ii - log(e^s_ii + mean over j != i of e^s_ij), with s = cosine / temperature.

    The mean in the place of a sum is what takes the batch's size out: for unrelated codes it stays where it is.

    Args:
        z: (B, D), B >= 2.
    Returns: (B,).
    """
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return -info_nce(cosines(z, z) / temperature, own, negatives="mean", reduction="none")


class CMIM(Objective):
    """Encoder -> z = mean + sigma e -> decoder; the loss of one z an image, in nats over all pixels.

    cmim  -log p(x|z) - 1/2 (log p(z) + log q(z|x)) - `contrast` log p_k
    amim  the same without the last term
    vae   -log p(x|z) - log p(z) + log q(z|x)
    """

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "small-resnet",
        size: int = 64,
        loss: Literal["cmim", "amim", "vae"] = "cmim",
        code: int = 64,
        width: int = 64,
        scale: float = 0.1,
        least: float = 1e-3,
        temperature: float = 0.1,
        contrast: float = 1.0,
    ) -> None:
        """
        Args:
            size: of the images, a multiple of 32.
            code: length of z.
            width: channels of the decoder before its last layer.
            scale: standard deviation of p(x|z), fixed: with a free one the likelihood of thousands of pixels drowns the
                rest.
            least: floor of sigma; without one A-MIM drives it to 0.
            contrast: weight of the contrastive term; the paper has none, that is 1.
        Raises: UnmaskError for a size that is no multiple of 32.
        """
        super().__init__()
        if size % 32:
            raise InputError(f"cmim's decoder paints images of a multiple of 32 pixels: choose {size // 32 * 32 or 32}")
        self.network = ConvNet(network)
        self.input = self.network.input(size)
        self.posterior = nn.Linear(self.network.features * (size // 32) ** 2, 2 * code)
        self.decoder = _Decoder(code, width, size)
        self.pixels = nn.Conv2d(width, 3, 3, padding=1)
        self.kind, self.log_scale, self.floor = loss, 2 * math.log(scale), 2 * math.log(least)
        self.temperature, self.contrast = temperature, contrast

    @property
    def encoder(self) -> ConvNet:
        return self.network

    def forward(self, image: Tensor) -> Tensor:
        """The mean code."""
        return self.code(image)[0]

    def code(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) in 0..1 -> mean and logarithm of the variance, (B, D) both."""
        mean, log_var = self.posterior(self.network(image).flatten(1)).chunk(2, 1)
        return mean, log_var.clamp(min=self.floor)

    def informative(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 16 width): what comes before the decoder's last layer, over a 4 x 4 grid."""
        return F.adaptive_avg_pool2d(self.decoder(self.code(image)[0]), 4).flatten(1)

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of the first view; means over images."""
        image = batch.images[0]
        mean, log_var = self.code(image)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        known = gaussian(image, self.pixels(self.decoder(z)), self.log_scale)
        prior, posterior = gaussian(z, torch.zeros_like(z), 0.0), gaussian(z, mean, log_var)
        of_prior, of_posterior = (1.0, -1.0) if self.kind == "vae" else (0.5, 0.5)
        found = {
            "reconstruction": -known.mean(),
            "prior": -of_prior * prior.mean(),
            "posterior": -of_posterior * posterior.mean(),
        }
        if self.kind == "cmim":
            found["contrast"] = -self.contrast * same_code(z, self.temperature).mean()
        return found

    def load_pretrained(self, weights: Path) -> None:
        """ImageNet weights in timm's layout."""
        self.network.load_pretrained(weights)


class _Decoder(nn.Sequential):
    """(B, code) -> (B, width, S, S): an eighth of the side, then three times doubled."""

    def __init__(self, code: int, width: int, size: int) -> None:
        side, widths = size // 8, (2 * width, width, width, width)
        layers: list[nn.Module] = [nn.Linear(code, widths[0] * side**2), nn.Unflatten(1, (widths[0], side, side))]
        for inside, out in pairwise(widths):
            convolution = nn.Conv2d(inside, out, 3, padding=1, bias=False)
            layers += [nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(out), nn.ReLU()]
        super().__init__(*layers)
