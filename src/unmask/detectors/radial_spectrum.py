"""The radial power spectrum: 64 numbers of an image, and a line through them.

The idea in three sentences. Up-sampling in a generator gives the high frequencies of an image the wrong power. The
power spectrum averaged over rings of equal frequency shows that in a few numbers, and hides what the image shows. A
linear classifier on them is the floor: a detector that does not beat it may have learnt nothing but the codec.

Durall et al.: "Unmasking DeepFakes with simple Features", arXiv 1911.00686. The same numbers as those of the bench's
floor (`unmask.measure.spectrum`), there with scikit-learn and refitted on each protocol; here it trains and exports
like any other detector.

Where it differs from the paper or from DeepfakeBench. The paper's classifiers are an SVM, logistic regression and
k-means; here it is a linear head. The bench's baseline `spectrum` is the same spectrum, fitted again for each
protocol.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.nn.fixed import exactly
from unmask.nn.frequency import dft, dft_matrices
from unmask.types import InputSpec

CARD = {
    "title": "Radial power spectrum",
    "paper": "Durall et al., arXiv 1911.00686",
    "task": "one aligned face, or an image -> real or fake",
    "evidence": "frequency, noise",
    "answers": ("face", "whole"),
    "licence": "Apache-2.0",
    "verified": "the spectrum against the bench's own; no table was reproduced",
    "small": {"size": 32, "rings": 32},
}


class RadialSpectrum(Detector):
    """Log power over rings, each standardised over training images, linear head, cross-entropy."""

    cosine: Tensor
    sine: Tensor
    members: Tensor
    count: Tensor

    def __init__(self, size: int = 256, rings: int = 64, margin: float = 1.3, tiles: int = 4) -> None:
        """
        Args:
            size: side of the crop, pixels, and the only one.
            rings: numbers of the spectrum.
            margin: 1.3 = aligned faces; 0 = whole images.
            tiles: of a whole image, at most.
        """
        super().__init__()
        tiles = 0 if margin else tiles
        self.input = InputSpec(size=size, margin=margin, tiles=tiles, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        for name, matrix in zip(("cosine", "sine"), dft_matrices(size), strict=True):
            self.register_buffer(name, matrix, persistent=False)
        for name, numbers in zip(("members", "count"), _members(size, rings), strict=True):
            self.register_buffer(name, numbers, persistent=False)
        self.standardise = nn.BatchNorm1d(rings, affine=False)
        self.head = nn.Linear(rings, len(self.classes))
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # as a regression begins: there is no symmetry to break

    def forward(self, image: Tensor) -> Output:
        features = self.standardise(self.spectrum(image))
        return Output(self.head(features), features)

    def spectrum(self, image: Tensor) -> Tensor:
        """Log power of the grey image in 0..255, averaged over rings from zero to the Nyquist frequency.

        Args:
            image: (B, 3, S, S) in 0..1.
        Returns: (B, rings)
        """
        side = len(self.cosine)
        grey = torch.einsum("bchw,c->bhw", exactly(image, side).float(), image.new_tensor((0.299, 0.587, 0.114))) * 255
        mean = grey.mean((1, 2), keepdim=True)
        # Without its mean, which single precision would spread over all frequencies; it belongs to the first alone.
        real, imaginary = (part.flatten(1) for part in dft(grey - mean, self.cosine, self.sine))
        power = real.square() + imaginary.square()
        power = torch.cat([(mean[:, 0] * side**2).square(), power[:, 1:]], 1)
        # Not + 1e-8, which exporters take for nothing. With a 0 at the end, for the shorter rings.
        log = F.pad(power.clamp_min(1e-8).log(), (0, 1))
        return log[:, self.members].sum(2) / self.count


def _members(size: int, rings: int) -> tuple[Tensor, Tensor]:
    """Places of each ring's coefficients in a flat, unshifted DFT, and how many there are.

    Returns: (rings, n), filled up with the place after the last coefficient, and (rings,).
    """
    n = torch.arange(size, device="cpu")
    frequency = torch.where(n < size - size // 2, n, n - size).double()
    radius = (frequency[:, None].square() + frequency[None].square()).sqrt()
    ring = (radius / (size / 2) * rings).long().flatten()
    found = [(ring == r).nonzero()[:, 0] for r in range(rings)]
    places = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=size * size)
    return places, torch.tensor([max(len(f), 1) for f in found])
