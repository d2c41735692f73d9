"""The landmarker's net: from an aligned crop of 112 pixels straight to 81 points, about a quarter of a million weights.

Our own net, trained from scratch; laid out for ONNX Runtime on one core. Full 3 x 3 filters where channels are few,
depthwise-separable blocks with residuals where they are many, and a head that keeps the 7 x 7 places apart: an average
over places would lose what it is asked for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from training.face_detector.net import Separable

SIDE = 112  # pixels
POINTS = 81
WIDTHS = (16, 24, 64, 128)  # channels at strides 2, 4, 8, 16
SQUEEZED = 16  # channels of each of the 7 x 7 places that the head reads


class Plain(nn.Module):
    """A 3 x 3 filter over all channels; the input is added where the shapes agree."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside))
        self.add = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return fn.relu_(y.add_(x) if self.add else y)


class LandmarkNet(nn.Module):
    """(B, 3, 112, 112) RGB in 0..255 -> (B, 81, 2), x and y in 0..1 of the crop's side; points may lie outside it.

    What is learnt is the distance from `mean` (81, 2), the mean shape in such crops.
    """

    mean: Tensor

    def __init__(self, mean: Tensor | None = None) -> None:
        super().__init__()
        half, quarter, a, b = WIDTHS
        self.body = nn.Sequential(
            Plain(3, half, 2),
            Plain(half, quarter, 2),
            Plain(quarter, quarter),
            Separable(quarter, a, 2),
            *(Separable(a, a) for _ in range(4)),
            Separable(a, b, 2),
            *(Separable(b, b) for _ in range(4)),
            nn.Conv2d(b, SQUEEZED, 1),
        )
        self.head = nn.Linear(SQUEEZED * (SIDE // 16) ** 2, 2 * POINTS)
        nn.init.normal_(self.head.weight, std=0.001)  # the mean shape is a good first guess
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(POINTS, 2) if mean is None else mean.clone())

    def forward(self, image: Tensor) -> Tensor:
        places = self.body((image - 127.5) / 64.0)
        moved: Tensor = self.head(places.flatten(1)).unflatten(1, (POINTS, 2))
        return self.mean + moved


def export(net: LandmarkNet, path: Path) -> None:
    """Write `net` as ONNX: "input" (N, 3, 112, 112), N free, "points" (N, 81, 2); normalisation is in the filters."""
    net = net.eval()
    with torch.no_grad():
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, SIDE, SIDE),),
            str(path),
            input_names=["input"],
            output_names=["points"],
            dynamic_axes={"input": {0: "faces"}, "points": {0: "faces"}},
            opset_version=17,
            dynamo=False,
        )
