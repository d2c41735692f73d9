"""MesoInception-4: Meso-4 whose first two convolutions look at several scales at once.

The idea in three sentences. The traces of a forgery are of no one size. So each of the first two layers is a module of
four branches: a 1 x 1 convolution alone, and three that are followed by a 3 x 3 one with dilations 1, 2 and 3. The rest
is Meso-4.

Afchar et al.: "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018, arXiv 1809.00888.

Where it differs from the paper or from DeepfakeBench. The authors minimise squares of P(real); here it is
cross-entropy over two classes. Their one output is turned round where a file is imported. Their code has a leaky ReLU
after the first dense layer, and the layer list inside `Meso4_DF.h5` names none (that of `MesoInception_DF.h5` does);
here both have one, as in the code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.fixed import exactly
from unmask.nn.mesonet import MesoHead, conv, crops, stage

CARD = {
    "title": "MesoInception-4",
    "paper": "Afchar et al., WIFS 2018, arXiv 1809.00888",
    "task": "one face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the authors' weights too",
    "verified": "the authors' weights (Keras) against an independent forward pass; not their accuracy",
    "small": {"size": 64},
}


class MesoInception4(Detector):
    """Two modules of four branches, two plain stages, two dense layers; cross-entropy (theirs: squares)."""

    def __init__(self, size: int = 256) -> None:
        """`size`: side of the crop, a multiple of 32; published weights have 256."""
        super().__init__()
        self.input = crops(size)
        self.body = nn.Sequential(
            stage(_Branches(3, 1), 11, 2),
            stage(_Branches(11, 2), 12, 2),
            stage(conv(12, 16, 5), 16, 2),
            stage(conv(16, 16, 5), 16, 4),
        )
        self.head = MesoHead(size // 32)

    def forward(self, image: Tensor) -> Output:
        return Output(*self.head(self.body(exactly(image, self.input.size))))


class _Branches(nn.Module):
    """(B, inside, H, W) -> (B, alone + 4 + 4 + 2, H, W)"""

    def __init__(self, inside: int, alone: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv(inside, alone, 1),
                *(nn.Sequential(conv(inside, n, 1), conv(n, n, 3, d)) for n, d in ((4, 1), (4, 2), (2, 3))),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)
