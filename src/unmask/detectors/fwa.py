"""FWA and DSP-FWA: a network learns the traces of warping from real faces that were made small and warped back.

The idea in three sentences. Early swaps draw a face at a fixed small size and warp it into the frame, which leaves less
detail inside than around it. That trace can be made from any real face without a forgery method (the generator `fwa`).
Faces come in all sizes, so that DSP-FWA reads the last maps through a pyramid: the largest value of the whole, of 2 x 2
and of 6 x 6 cells.

Li and Lyu: "Exposing DeepFake Videos By Detecting Face Warping Artifacts", CVPR Workshops 2019, arXiv 1811.00656; the
pyramid is that of its successor DSP-FWA (code of the authors; sides 1, 2 and 6 from memory). Pyramid: He et al.,
"Spatial Pyramid Pooling in Deep Convolutional Networks", ECCV 2014.

DeepfakeBench's copy is an Xception on such faces: `network: xception`, `pyramid: []`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "FWA and DSP-FWA (face-warping artefacts)",
    "paper": "Li and Lyu, CVPR Workshops 2019, arXiv 1811.00656",
    "task": "one aligned face -> real or fake",
    "evidence": "blending",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the pyramid equals torch's adaptive pooling; its sides from memory; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 32, "pyramid": (1, 2)},
}


class FWA(Detector):
    """ResNet-50, spatial pyramid, linear head, cross-entropy."""

    def __init__(self, network: str = "resnet-50", size: int = 224, pyramid: tuple[int, ...] = (1, 2, 6)) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            pyramid: cells along a side at each level; none = the mean over places, as in the first paper.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.levels = self.body.input(size), tuple(pyramid)
        cells = sum(side**2 for side in pyramid) or 1
        self.head = nn.Linear(self.body.features * cells, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        maps = self.body(image)
        features = pyramid_pool(maps, self.levels) if self.levels else maps.mean((2, 3))
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


def pyramid_pool(maps: Tensor, sides: tuple[int, ...]) -> Tensor:
    """(B, C, h, w) -> (B, C sum of sides^2): the largest value in each cell of grids of these sides, level by level.

    Cell i of n over h rows has rows floor(i h / n) .. ceil((i + 1) h / n) - 1, as in torch's adaptive pooling; cells
    may share rows where n does not divide h.
    """
    height, width = maps.shape[-2:]
    levels = []
    for n in sides:
        cells = [
            maps[..., top:bottom, left:right].amax((2, 3))
            for top, bottom in _cells(height, n)
            for left, right in _cells(width, n)
        ]
        levels.append(torch.stack(cells, 2).flatten(1))
    return torch.cat(levels, 1)


def _cells(side: int, n: int) -> list[tuple[int, int]]:
    return [(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]
