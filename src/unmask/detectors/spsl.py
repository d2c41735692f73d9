"""SPSL: up-sampling leaves its mark in the phase of the spectrum, and a shallow network does not look past it.

The idea in three sentences. Most forgeries enlarge an image somewhere, which repeats its spectrum; the phases of the
repetitions survive where amplitudes fade. So the network gets a fourth channel beside the colours: the image made
again from its phases alone. Because such marks are local, the middle blocks are left out, and with them the large
receptive field that learns faces instead.

Liu et al.: "Spatial-Phase Shallow Learning: Rethinking Face Forgery Detection in Frequency Domain", CVPR 2021,
arXiv 2103.01856 (details from memory). DeepfakeBench trains the whole network: `shallow: false`.

Where it differs from the paper or from DeepfakeBench. The phase channel has unit variance (theirs about 1 / side),
and frequencies below the rounding of 8 bits fade. Which blocks a shallow network lacks is DeepfakeBench's
`shallow_xception`; its table is of the whole network (`shallow: false`). The filters of the fourth channel start as
timm repeats those of colours, (R, G, B, R) times 3/4; DeepfakeBench gives all four channels the mean of the three.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet
from unmask.nn.fixed import exactly
from unmask.nn.frequency import dft, dft_matrices

CARD = {
    "title": "SPSL (phase spectrum, shallow network)",
    "paper": "Liu et al., CVPR 2021, arXiv 2103.01856",
    "task": "one aligned face -> real or fake",
    "evidence": "frequency, noise",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the image from phases against numpy's FFT; which blocks are left out is DeepfakeBench's; no tables",
    "small": {"network": "tiny-xception", "size": 32},
}

MIDDLE = {  # the steps that a shallow network lacks
    "xception": tuple(f"block{n}" for n in range(4, 12)),
    "small-resnet": ("layer4",),
    "tiny-xception": ("blocks.1",),
}


class SPSL(Detector):
    """A network on colours and phases, mean over places, linear head, cross-entropy."""

    cosine: Tensor
    sine: Tensor

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        shallow: bool = True,
    ) -> None:
        """`size`: side of the crop, pixels, and the only one. `shallow`: without the middle blocks."""
        super().__init__()
        self.body = ConvNet(network, inside=4, without=MIDDLE[network] if shallow else ())
        self.input = self.body.input(size)
        self.head = nn.Linear(self.body.features, len(self.classes))
        for name, matrix in zip(("cosine", "sine"), dft_matrices(size), strict=True):
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, image: Tensor) -> Output:
        phase = from_phases(exactly(image, len(self.cosine)), self.cosine, self.sine)
        features = self.body.run(torch.cat([self.body.normalised(image), phase], 1)).mean((2, 3))
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


def from_phases(image: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """IDFT(X / |X|) of the grey image, times the side, so that its mean square is 1.

    A frequency whose amplitude is far below that of 8-bit rounding has no phase to speak of, and fades: |X| is
    sqrt(|X|^2 + (side / 10^4)^2).

    Args:
        image: (B, 3, S, S) in 0..1; cosine, sine: of `dft_matrices(S)`.
    Returns: (B, 1, S, S)
    """
    side = image.shape[-1]
    real, imaginary = dft(image.mean(1, keepdim=True).float(), cosine, sine)
    size = (real.square() + imaginary.square() + (side * 1e-4) ** 2).sqrt()
    # F* (a + ib) F* / side^2 with F* = C + iS: its real part is C a C - S a S - S b C - C b S.
    a, b = real / size, imaginary / size
    return (dft(a, cosine, sine)[0] + dft(b, cosine, sine)[1]) / side
