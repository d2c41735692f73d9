"""The face detector's net: anchor-free, three strides, about a hundred thousand weights, laid out like YuNet.

Our own net, trained from scratch. The layout of its outputs is YuNet's (Wu et al., "YuNet: A Tiny Millisecond-level
Face Detector", Machine Intelligence Research 2023), so that one decoder serves both files; the body is a pyramid of
depthwise-separable blocks with residuals and a top-down path, chosen for ONNX Runtime on one core at 320 x 192.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

STRIDES = (8, 16, 32)
WIDTHS = (16, 32, 64, 96, 128)  # channels at strides 2, 4, 8, 16, 32
NECK = 64
OUTPUTS = tuple(f"{what}_{stride}" for what in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
CHANNELS = (1, 1, 4, 10)  # of cls, obj, bbox, kps


class Separable(nn.Module):
    """A 3 x 3 filter for each channel, then a mix of channels; the input is added where the shapes agree.

    Nothing stands between the two convolutions (Chollet, "Xception", CVPR 2017, section 4.7): as good, and faster.
    """

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
            nn.Conv2d(inside, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.add = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return fn.relu_(y.add_(x) if self.add else y)


class FaceDetectorNet(nn.Module):
    """(B, 3, H, W) BGR in 0..255, H and W multiples of 32 -> one map (B, 16, H/s, W/s) for each stride s.

    Channels of a map: cls and obj as logits, 4 of the box, 10 of the points; see `decode`.
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, a, b, c = WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            Separable(half, quarter, 2),
        )
        self.at8 = nn.Sequential(Separable(quarter, quarter), Separable(quarter, a, 2), Separable(a, a))
        self.at16 = nn.Sequential(Separable(a, b, 2), Separable(b, b), Separable(b, b))
        self.at32 = nn.Sequential(Separable(b, c, 2), Separable(c, c))
        self.side = nn.ModuleList(nn.Conv2d(width, NECK, 1, bias=False) for width in (a, b, c))
        self.norm = nn.ModuleList(nn.BatchNorm2d(NECK) for _ in STRIDES)
        self.neck = nn.ModuleList(Separable(NECK, NECK) for _ in STRIDES)
        self.what = nn.ModuleList(_what() for _ in STRIDES)
        # where a face's corners and points lie wants other features than whether there is one: a block of its own
        self.where = nn.ModuleList(nn.Sequential(Separable(NECK, NECK), nn.Conv2d(NECK, 14, 1)) for _ in STRIDES)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem((image - 127.5) / 64.0)
        fine = self.at8(x)
        middle = self.at16(fine)
        coarse = self.at32(middle)
        maps: list[Tensor] = []
        above: Tensor | None = None
        for level in (2, 1, 0):  # top-down: what the coarse map knows of the surroundings helps the finer ones
            x = self.norm[level](self.side[level]((fine, middle, coarse)[level]))
            if above is not None:
                x = x + fn.interpolate(above, scale_factor=2.0, mode="nearest")
            above = self.neck[level](fn.relu(x))
            maps.insert(0, torch.cat([self.what[level](above), self.where[level](above)], dim=1))
        return maps


def _what() -> nn.Conv2d:
    layer = nn.Conv2d(NECK, 2, 1)
    nn.init.normal_(layer.weight, std=0.01)
    with torch.no_grad():
        # faces are rare: objectness starts from p = 0.018 instead of unlearning 0.5
        torch.as_tensor(layer.bias).copy_(torch.tensor([0.0, -4.0]))
    return layer


@dataclass(frozen=True)
class Found:
    """What the net says at each of its P grid points, in pixels of the input."""

    cls: Tensor  # (B, P) logit: how well does the box fit
    obj: Tensor  # (B, P) logit: is there a face
    boxes: Tensor  # (B, P, 4) x0, y0, x1, y1
    points: Tensor  # (B, P, 5, 2)
    grid: Tensor  # (P, 3) x, y, stride of the grid points


def decode(maps: list[Tensor]) -> Found:
    """Maps of `FinderNet` -> boxes and points.

    YuNet's rule: centre = (cell + d) * s, side = exp(d) * s, point = (cell + k) * s.
    """
    flat = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1).float()
    grid = torch.cat([_grid(m, stride) for m, stride in zip(maps, STRIDES, strict=True)])
    corner, stride = grid[:, :2], grid[:, 2:]
    centre = corner + flat[..., 2:4] * stride
    # the clamp only keeps an untrained net finite: exp(5) strides are 4749 px at stride 32
    half = flat[..., 4:6].clamp(-5, 5).exp() * stride / 2
    points = corner[:, None] + flat[..., 6:16].unflatten(-1, (5, 2)) * stride[:, None]
    return Found(flat[..., 0], flat[..., 1], torch.cat([centre - half, centre + half], dim=-1), points, grid)


def _grid(values: Tensor, stride: int) -> Tensor:
    rows, columns = values.shape[2:]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack(
        [x.flatten() * stride, y.flatten() * stride, torch.full((rows * columns,), stride)], dim=1
    ).float()


class YuNetLayout(nn.Module):
    """The net as a file wants it: twelve outputs in the order of OUTPUTS, each (B, H*W/s^2, 1 | 1 | 4 | 10).

    cls and obj are probabilities here.
    """

    def __init__(self, net: FaceDetectorNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        parts: list[Tensor] = []
        for values in self.net(image):
            cls, obj, box, points = values.permute(0, 2, 3, 1).flatten(1, 2).split(CHANNELS, dim=2)
            parts += [cls.sigmoid(), obj.sigmoid(), box, points]
        return tuple(parts[level * 4 + what] for what in range(4) for level in range(len(STRIDES)))


def export(net: FaceDetectorNet, path: Path) -> None:
    """Write `net` as ONNX: batch 1, free height and width (multiples of 32), normalisation folded into the filters."""
    layout = YuNetLayout(net).eval()
    with torch.no_grad():
        torch.onnx.export(
            layout,
            (torch.zeros(1, 3, 192, 320),),
            str(path),
            input_names=["input"],
            output_names=list(OUTPUTS),
            dynamic_axes={"input": {2: "height", 3: "width"}}
            | {name: {1: f"cells_{name.split('_')[1]}"} for name in OUTPUTS},
            opset_version=17,
            dynamo=False,
        )
