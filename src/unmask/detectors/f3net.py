"""F3-Net: what an image hides in its colours it shows in its frequencies, cut into bands and counted place by place.

The idea in three sentences. Compression blurs the traces of a forgery in pixels, but leaves their share of the
spectrum. One network sees the image split into frequency bands by filters that it may bend (FAD: frequency-aware
decomposition), another sees how much of each band there is around each place (LFS: local frequency statistics). At two
depths the two exchange what they see by attention (MixBlock).

Qian et al.: "Thinking in Frequency: Face Forgery Detection by Mining Frequency-aware Clues", ECCV 2020,
arXiv 2007.09355 (formulas from memory). DeepfakeBench has the FAD branch alone: `branches: fad`.

Where it differs from the paper or from DeepfakeBench. Both branches and their mixing; DeepfakeBench has the first
(`branches: fad`). Statistics are means over a band, taken of grey. The form of the mixing is from memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.nn.convnets import ConvNet
from unmask.nn.crossing import Crossing
from unmask.nn.fixed import exactly
from unmask.nn.frequency import bands, dct_matrix

CARD = {
    "title": "F3-Net (frequency bands and local frequency statistics)",
    "paper": "Qian et al., ECCV 2020, arXiv 2007.09355",
    "task": "one aligned face -> real or fake",
    "evidence": "frequency, noise",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "bands and statistics by hand; the mixing from memory, no published weights or tables",
    "small": {"network": "tiny-xception", "size": 32},
}

CUTS = {  # the steps after which the branches mix, and the first filters, which LFS runs at every place
    "xception": ("block7", "block12", "conv1"),
    "small-resnet": ("layer3", "layer4", "conv1"),
    "tiny-xception": ("blocks.0", "blocks.1", "stem.0.conv"),
}


class F3Net(Detector):
    """FAD and LFS, each into a network of its own; linear head on both features, cross-entropy."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        branches: Literal["both", "fad"] = "both",
        dropout: float = 0.5,
        closed_bands: bool = False,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels, even, and the only one; the paper has 299, DeepfakeBench 256.
            closed_bands: FAD's bands hold both of their edges, as in DeepfakeBench and its checkpoint; without, they
                partition the spectrum. At 256 pixels, 91 and 129 coefficients then lie in two bands.
        """
        super().__init__()
        self.both = branches == "both"
        self.split, self.body = Bands(size, closed_bands), ConvNet(network, inside=12)
        self.input = self.body.input(size)
        features, self.cuts = self.body.features, CUTS[network][:2]
        if self.both:
            self.local, self.local_body = LocalStatistics(), ConvNet(network, inside=6)
            self.local_body.body.get_submodule(CUTS[network][2]).stride = (1, 1)  # type: ignore[assignment]
            self.mix, self.mix_again = (Crossing(self.body.width(c)) for c in self.cuts)
            features *= 2
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        image = self.body.normalised(image)
        x = self.split(image)
        if self.both:
            (middle, late), y = self.cuts, self.local(image)
            x, y = self.mix(self.body.run(x, None, middle), self.local_body.run(y, None, middle))
            x, y = self.mix_again(self.body.run(x, middle, late), self.local_body.run(y, middle, late))
            features = torch.cat([self.body.run(x, late).mean((2, 3)), self.local_body.run(y, late).mean((2, 3))], 1)
        else:
            features = self.body.run(x).mean((2, 3))
        return Output(self.head(self.dropout(features)), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into each network, in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)
        if self.both:
            self.local_body.load_pretrained(weights)


class Bands(nn.Module):
    """FAD: y_i = D' [ (D x D') (f_i + s(w_i)) ] D with s(w) = 2 sigmoid(w) - 1, D the DCT and w_i learnt.

    f_i is 1 in its band of i + j: below size / 2.82 (a sixteenth of the spectrum), from there to size / 2 (as much
    again), above, and everywhere. (B, 3, size, size) -> (B, 12, size, size)
    """

    dct: Tensor
    base: Tensor

    def __init__(self, size: int, closed: bool = False) -> None:
        super().__init__()
        split = bands(size, (0, size // 2.82, size // 2, 2 * size), closed=closed)
        self.register_buffer("dct", dct_matrix(size), persistent=False)
        self.register_buffer("base", torch.cat([split, torch.ones(1, size, size)]), persistent=False)
        self.bend = nn.Parameter(0.1 * torch.randn(4, size, size))

    def forward(self, image: Tensor) -> Tensor:
        whole = self.dct @ exactly(image, len(self.dct)) @ self.dct.T
        kept = whole[:, None] * (self.base + 2 * self.bend.sigmoid() - 1)[None, :, None]  # (B, 4, 3, S, S)
        return (self.dct.T @ kept @ self.dct).flatten(1, 2)


class LocalStatistics(nn.Module):
    """LFS: log10 of the mean over a band of |D p D'| |f_m + s(w_m)|, p the 10 x 10 pixels around each second place.

    Six bands of equal width in i + j. (B, 3, S, S) -> (B, 6, S / 2, S / 2)
    """

    basis: Tensor
    base: Tensor

    def __init__(self, window: int = 10, number: int = 6) -> None:
        super().__init__()
        dct = dct_matrix(window)
        basis = torch.einsum("un,vm->uvnm", dct, dct).reshape(window * window, 1, window, window)
        split = bands(window, tuple(2 * window / number * b for b in range(number + 1))).flatten(1)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("base", split, persistent=False)
        self.bend = nn.Parameter(0.1 * torch.randn(number, window * window))

    def forward(self, image: Tensor) -> Tensor:
        grey = (image * image.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)
        size = F.conv2d(grey, self.basis, stride=2, padding=(self.basis.shape[-1] - 2) // 2).abs()
        weight = (self.base + 2 * self.bend.sigmoid() - 1).abs() / self.base.sum(1, keepdim=True)
        return F.conv2d(size, weight[:, :, None, None]).clamp_min(1e-6).log10()
