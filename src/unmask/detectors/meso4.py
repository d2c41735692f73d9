"""Meso-4: four convolutions and 28,000 weights look at a face at a middle scale, between noise and meaning.

The idea in three sentences. Compression destroys the noise that microscopic analysis needs, and a forged face is
convincing as a whole: what is left to see is of a size between the two. So the network is shallow and small. It runs
anywhere, and is weak where forgeries are good.

Afchar et al.: "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018, arXiv 1809.00888.

Where it differs from the paper or from DeepfakeBench. The authors minimise squares of P(real); here it is
cross-entropy over two classes. Their one output is turned round where a file is imported. Their code has a leaky ReLU
after the first dense layer, and the layer list inside `Meso4_DF.h5` names none (that of `MesoInception_DF.h5` does);
here both have one, as in the code.
"""

from __future__ import annotations

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.fixed import exactly
from unmask.nn.mesonet import MesoHead, conv, crops, stage

CARD = {
    "title": "Meso-4",
    "paper": "Afchar et al., WIFS 2018, arXiv 1809.00888",
    "task": "one face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the authors' weights too",
    "verified": "the authors' weights (Keras) against an independent forward pass; not their accuracy",
    "small": {"size": 64},
}


class Meso4(Detector):
    """Four stages of convolution, normalisation and pooling, and two dense layers; cross-entropy (theirs: squares)."""

    def __init__(self, size: int = 256) -> None:
        """`size`: side of the crop, a multiple of 32; published weights have 256."""
        super().__init__()
        self.input = crops(size)
        self.body = nn.Sequential(
            stage(conv(3, 8, 3), 8, 2),
            stage(conv(8, 8, 5), 8, 2),
            stage(conv(8, 16, 5), 16, 2),
            stage(conv(16, 16, 5), 16, 4),
        )
        self.head = MesoHead(size // 32)

    def forward(self, image: Tensor) -> Output:
        return Output(*self.head(self.body(exactly(image, self.input.size))))
