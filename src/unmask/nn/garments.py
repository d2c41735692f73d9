"""A garment brought into a person's shape: a thin-plate spline whose control points a network finds, then a refinement.

The layers carry the names of LaDI-VTON's published weights (github.com/miccunifi/ladi-vton, CC BY-NC 4.0; no line of
it is used here): Morelli et al., ACM MM 2023, after Rocco, Arandjelovic and Sivic, CVPR 2017 (arXiv 1703.05593).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID, REACH = 5, 0.9  # control points a side, and how far from the middle the outermost lie


def control_points() -> Tensor:
    """(25, 2) x, y in -1..1, row by row."""
    line = torch.linspace(-REACH, REACH, GRID)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], 2).reshape(-1, 2)


def radial(a: Tensor, b: Tensor) -> Tensor:
    """(N, M): r^2 log r of the distance r of points (N, 2) and (M, 2), 0 at r = 0."""
    square = (a[:, None] - b).square().sum(2)
    return 0.5 * square * square.clamp_min(1e-12).log()


def thin_plate(points: Tensor, high: int, wide: int) -> Tensor:
    """The sampling grid of the thin-plate spline that takes `control_points` to `points`.

    Bookstein, "Principal Warps", PAMI 1989: the smoothest map through all of them, an affine one and r^2 log r terms.

    Args:
        points: (B, 25, 2) x, y in -1..1.
    Returns: (B, high, wide, 2) x, y in -1..1 at the middles of the outermost pixels; what `F.grid_sample` takes.
    """
    fixed = control_points().to(points)
    n = len(fixed)
    flat = torch.cat([torch.ones(n, 1).to(points), fixed], 1)
    system = torch.zeros(n + 3, n + 3).to(points)
    system[:n, :n], system[:n, n:], system[n:, :n] = radial(fixed, fixed), flat, flat.T
    weights: Tensor = torch.linalg.solve(system, torch.cat([points, torch.zeros(len(points), 3, 2).to(points)], 1))
    y, x = torch.meshgrid(torch.linspace(-1, 1, high), torch.linspace(-1, 1, wide), indexing="ij")
    at = torch.stack([x, y], 2).reshape(-1, 2).to(points)
    grid = torch.cat([radial(at, fixed), torch.ones(len(at), 1).to(points), at], 1) @ weights
    return grid.view(-1, high, wide, 2)


class Warping(nn.Module):
    """Garment (B, 3, 256, 192), person (B, 21, 256, 192) in -1..1 -> control points (B, 25, 2); at first unmoved."""

    def __init__(self, person: int = 21, width: int = 64) -> None:
        """`width`: of the first layer; published weights have 64."""
        super().__init__()
        top = 8 * width
        self.extractionA, self.extractionB = _Features(3, width), _Features(person, width)
        self.loc_net = nn.Module()
        self.loc_net.regression = nn.Module()
        layers: list[nn.Module] = []
        # The correlation has a channel for each of the 16 x 12 places.
        for n_in, n_out, kernel in ((192, top, 4), (top, top // 2, 4), (top // 2, top // 4, 3), (top // 4, width, 3)):
            layers += [nn.Conv2d(n_in, n_out, kernel, 2 if kernel == 4 else 1, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
        self.loc_net.regression.conv = nn.Sequential(*layers)
        self.loc_net.regression.linear = nn.Linear(width * 12, 2 * GRID * GRID)
        nn.init.zeros_(self.loc_net.regression.linear.weight)
        self.loc_net.regression.linear.bias.data.copy_(torch.atanh(control_points()).flatten())

    def forward(self, garment: Tensor, person: Tensor) -> Tensor:
        a, b = (F.normalize(f, dim=1) for f in (self.extractionA.model(garment), self.extractionB.model(person)))
        b_places, a_places = b.flatten(2), a.transpose(2, 3).flatten(2)  # the garment's places column by column
        correlation = torch.einsum("bcp,bcq->bqp", b_places, a_places).view(len(a), -1, *b.shape[2:])
        regression = self.loc_net.get_submodule("regression")
        x = regression.get_submodule("conv")(correlation).flatten(1)
        return torch.tanh(regression.get_submodule("linear")(x)).view(-1, GRID * GRID, 2)


class _Features(nn.Module):
    """Four halvings and two convolutions more."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_out in (width, 2 * width, 4 * width, 8 * width):
            layers += [nn.Conv2d(channels, n_out, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(n_out)]
            channels = n_out
        layers += [nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(), nn.BatchNorm2d(channels)]
        layers += [nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU()]
        self.model = nn.Sequential(*layers)


class Refinement(nn.Module):
    """A UNet over warped garment, person and pose: (B, 24, H, W) -> (B, 3, H, W), sides multiples of 16."""

    def __init__(self, channels: int = 24, width: int = 64) -> None:
        super().__init__()
        w = width
        self.inc = _Twice(channels, w)
        self.down1, self.down2, self.down3, self.down4 = (
            _Down(a * w, b * w) for a, b in ((1, 2), (2, 4), (4, 8), (8, 8))
        )
        self.up1, self.up2, self.up3, self.up4 = (_Up(a * w, b * w) for a, b in ((16, 4), (8, 2), (4, 1), (2, 1)))
        self.outc = nn.Module()
        self.outc.conv = nn.Conv2d(w, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            kept.append(down(kept[-1]))
        x = kept.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, kept.pop())
        found: Tensor = self.outc.get_submodule("conv")(x)
        return found


class _Twice(nn.Module):
    def __init__(self, n_in: int, n_out: int, middle: int | None = None) -> None:
        super().__init__()
        middle = middle or n_out
        self.double_conv = nn.Sequential(
            nn.Conv2d(n_in, middle, 3, padding=1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
            nn.Conv2d(middle, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.double_conv(x)
        return found


class _Down(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), _Twice(n_in, n_out))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.maxpool_conv(x)
        return found


class _Up(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = _Twice(n_in, n_out, n_in // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        large = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=True)
        found: Tensor = self.conv(torch.cat([skip, large], 1))
        return found


@torch.no_grad()
def worn(warping: Warping, refinement: Refinement | None, garment: Tensor, masked: Tensor, pose: Tensor) -> Tensor:
    """A garment in a person's shape, (B, 3, H, W) in -1..1.

    Args:
        garment, masked: (B, 3, H, W) in -1..1, the person without what is repainted.
        pose: (B, 18, H, W) in 0..1.
    """
    small = [F.interpolate(x, size=(256, 192), mode="bilinear", antialias=True) for x in (garment, masked, pose)]
    points = warping(small[0], torch.cat(small[1:], 1))
    warped = F.grid_sample(garment, thin_plate(points, *garment.shape[2:]), padding_mode="border", align_corners=False)
    if refinement is None:
        return warped
    sides = [-side % 16 for side in warped.shape[2:]]
    given = F.pad(torch.cat([masked, pose, warped], 1), (0, sides[1], 0, sides[0]), "replicate")
    made: Tensor = refinement(given)
    return made[..., : warped.shape[2], : warped.shape[3]].clamp(-1, 1)
