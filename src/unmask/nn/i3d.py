"""I3D's ResNet: convolutions over time beside those over space, and the variant without any convolution over space.

Carreira and Zisserman: "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017, arXiv
1705.07750, on ResNet as in Wang et al., "Non-local Neural Networks", CVPR 2018; sizes of "I3D 8x8 R50" of PySlowFast.
`temporal` leaves kernels over time alone, and pools where the network would stride: Zheng et al., "Exploring Temporal
Coherence for More General Video Face Forgery Detection" (FTCN), ICCV 2021, arXiv 2108.06693.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BundleError, UnknownMethodError
from unmask.nn.backbones import HALF, fill

TIME = ((3,), (3, 1), (3, 1), (1, 3))  # kernels over time of the first convolution of each stage's blocks, in turn
PYSLOWFAST = (  # (theirs, ours), applied in this order
    (r"^s1\.pathway0_stem\.(conv|bn)\.", r"stem.\1."),
    (r"^s(\d)\.pathway0_res(\d+)\.", lambda m: f"stages.{int(m[1]) - 2}.{m[2]}."),
    (r"\.branch2\.([abc])_bn\.", r".\1.bn."),
    (r"\.branch2\.([abc])\.", r".\1.conv."),
    (r"\.branch1_bn\.", ".skip.bn."),
    (r"\.branch1\.", ".skip.conv."),
    (r"\.bn\.0\.", ".bn."),  # FTCN's: a norm, and the pooling in place of a stride behind it
    (r"\.bn\.", ".norm."),
)


@dataclass(frozen=True)
class Sizes:
    """`depths`: blocks of each stage; `width`: channels of the stem."""

    depths: tuple[int, ...]
    width: int


NETWORKS = {
    "i3d-r50": Sizes((3, 4, 6, 3), 64),
    # No published weights: one that a CPU trains in minutes, and one for tests.
    "small-i3d": Sizes((1, 1, 1), 24),
    "tiny-i3d": Sizes((1, 1), 8),
}


class Convolution(nn.Module):
    """Conv3d, BatchNorm and, where `temporal` has taken the stride away, a pooling."""

    def __init__(
        self, inside: int, out: int, time: int, space: int, stride: int = 1, *, temporal: bool = False
    ) -> None:
        super().__init__()
        space, step = (1, 1) if temporal else (space, stride)
        pad = (time // 2, space // 2, space // 2)
        self.conv = nn.Conv3d(inside, out, (time, space, space), (1, step, step), pad, bias=False)
        self.norm = nn.BatchNorm3d(out)
        self.pool = nn.MaxPool3d((1, stride, stride)) if temporal and stride > 1 else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.pool(self.norm(self.conv(maps)))
        return found


class Bottleneck(nn.Module):
    """Over time, over space, and back to four times the width; with a skip."""

    def __init__(self, inside: int, inner: int, time: int, stride: int, *, temporal: bool) -> None:
        super().__init__()
        out = 4 * inner
        self.a = Convolution(inside, inner, time, 1, temporal=temporal)
        self.b = Convolution(inner, inner, 1, 3, stride, temporal=temporal)
        self.c = Convolution(inner, out, 1, 1, temporal=temporal)
        self.skip = nn.Identity() if inside == out and stride == 1 else Convolution(
            inside, out, 1, 1, stride, temporal=temporal
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.skip(maps) + self.c(F.relu(self.b(F.relu(self.a(maps))))))


class InflatedResNet(nn.Module):
    """(B, T, 3, H, W) RGB in 0..1 -> maps (B, D, T', h, w); it owns its normalisation."""

    def __init__(self, name: str, *, temporal: bool = False, stages: int | None = None) -> None:
        """
        Args:
            name: of `NETWORKS`.
            temporal: no kernel over space, and no pooling over time: T' = T, otherwise T / 2.
            stages: only the first so many; None = all.
        Raises: UnmaskError for an unknown name.
        """
        super().__init__()
        if name not in NETWORKS:
            raise UnknownMethodError(f"there is no network {name!r}; there is {', '.join(NETWORKS)}")
        sizes = NETWORKS[name]
        depths = sizes.depths[:stages]
        self.temporal, inside = temporal, sizes.width
        self.stem = Convolution(3, sizes.width, 5, 7, 2, temporal=temporal)
        self.stages = nn.ModuleList()
        for n, depth in enumerate(depths):
            inner, blocks = sizes.width * 2**n, nn.Sequential()
            for block in range(depth):
                stride = 2 if n and not block else 1
                blocks.append(Bottleneck(inside, inner, TIME[n][block % len(TIME[n])], stride, temporal=temporal))
                inside = 4 * inner
            self.stages.append(blocks)
        self.features = inside

    def forward(self, video: Tensor) -> Tensor:
        maps = F.relu(self.stem(((video - HALF[0][0]) / HALF[1][0]).transpose(1, 2)))
        maps = F.max_pool3d(maps, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        for n, stage in enumerate(self.stages):
            maps = stage(maps)
            if n == 0 and not self.temporal:
                maps = F.max_pool3d(maps, (2, 1, 1))
        return maps

    def load_pretrained(self, weights: Path) -> None:
        """Load Kinetics weights: a safetensors file under PySlowFast's names; its classifier is left out, and so are
        kernels over space where this network has none.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = renamed(load_file(weights))
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        own = self.state_dict()
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        if self.temporal:  # of a kernel over space its sum remains: what it does to an image of one colour
            state = {k: v.sum((3, 4), keepdim=True) if _spatial(v, own.get(k)) else v for k, v in state.items()}
            state = {k: v for k, v in state.items() if k in own or not k.startswith("stages.")}
        fill(self, state, str(weights))


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """PySlowFast's names, with or without "resnet." before them -> ours."""
    ours = {}
    for key, value in state.items():
        name = key.removeprefix("resnet.")
        for theirs, mine in PYSLOWFAST:
            name = re.sub(theirs, mine, name)
        ours[name] = value
    return ours


def _spatial(theirs: Tensor, own: Tensor | None) -> bool:
    return own is not None and theirs.ndim == 5 and own.shape[3:] == torch.Size([1, 1]) != theirs.shape[3:]
