"""The face detector's second stage: an 80-pixel close-up in, five exact points and a face score out.

Our own net, trained from scratch; about 150,000 weights. The plan is that of the refining nets of MTCNN (Zhang
et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", SPL 2016): what is cheap
looks everywhere, what is exact looks only where the first net saw something.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from training.face_detector.net import Separable
from training.landmarker.net import Plain

SIDE = 80  # pixels
WIDTHS = (16, 32, 96, 160)  # channels at strides 2, 4, 8, 16
SQUEEZED = 24  # channels of each of the 5 x 5 places that the head reads


class RefineNet(nn.Module):
    """(B, 3, 80, 80) RGB in 0..255 -> points (B, 5, 2) in 0..1 of the crop's side, logits (B,) of being a face.

    What is learnt is the distance from `mean` (5, 2), the template's points in such crops.
    """

    mean: Tensor

    def __init__(self, mean: Tensor | None = None) -> None:
        super().__init__()
        half, quarter, a, b = WIDTHS
        self.body = nn.Sequential(
            Plain(3, half, 2),
            Plain(half, quarter, 2),
            Separable(quarter, quarter),
            Separable(quarter, a, 2),
            *(Separable(a, a) for _ in range(3)),
            Separable(a, b, 2),
            *(Separable(b, b) for _ in range(3)),
            nn.Conv2d(b, SQUEEZED, 1),
        )
        self.head = nn.Linear(SQUEEZED * (SIDE // 16) ** 2, 11)
        nn.init.normal_(self.head.weight, std=0.001)  # the template is a good first guess
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(5, 2) if mean is None else mean.clone())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        said: Tensor = self.head(self.body((image - 127.5) / 64.0).flatten(1))
        return self.mean + said[:, :10].unflatten(1, (5, 2)), said[:, 10]


class _Probable(nn.Module):
    def __init__(self, net: RefineNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        points, logit = self.net(image)
        return points, logit.sigmoid()


def export(net: RefineNet, path: Path) -> None:
    """Write `net` as ONNX: "input" (N, 3, 80, 80), N free, "points" (N, 5, 2), "face" (N,) a probability."""
    with torch.no_grad():
        torch.onnx.export(
            _Probable(net).eval(),
            (torch.zeros(1, 3, SIDE, SIDE),),
            str(path),
            input_names=["input"],
            output_names=["points", "face"],
            dynamic_axes={name: {0: "faces"} for name in ("input", "points", "face")},
            opset_version=17,
            dynamo=False,
        )
