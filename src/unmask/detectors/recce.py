"""RECCE: who learns to draw real faces draws forged ones wrongly, and where it does, the classifier looks.

The idea in three sentences. Classifiers learn the traces of known forgeries; what real faces have in common is the
better ground. So a decoder makes the face again from the encoder's maps and learns it from real faces alone, while real
faces are kept together in its features. The classifier takes the decoder's maps along over a graph between their places
and its own, and weighs its maps by where the drawing fails.

Cao et al.: "End-to-End Reconstruction-Classification Learning for Face Forgery Detection", CVPR 2022. Formulas from
memory; both weights 0.1 as in a configuration of the authors'. DeepfakeBench's copy trains by cross-entropy alone: set
both to 0.

Where it differs from the paper or from DeepfakeBench. DeepfakeBench's copy has neither loss (`drawing: 0, metric:
0`). The authors' white noise of 1e-6 is left out: it changes no pixel that an image holds. The graph's inner width is
a third of the maps' (242 of 728; theirs is 256), and the total loss is not kept above a floor (theirs: |L - 0.04| +
0.04).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "RECCE (reconstruction and classification)",
    "paper": "Cao et al., CVPR 2022",
    "task": "one aligned face -> real or fake",
    "evidence": "reconstruction",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "both terms by hand; formulas from memory, no published weights or tables",
    "small": {"network": "tiny-xception", "size": 32},
}

CUTS = {  # the steps that are drawn from, joined to the drawing, weighed by it; channels of the decoder
    "xception": ("block4", "block7", "block8", (256, 128, 64)),
    "small-resnet": ("layer3", "layer3", "layer3", (64, 32, 16)),
    "tiny-xception": ("blocks.0", "blocks.0", "blocks.0", (32, 16, 8)),
}


class RECCE(Detector):
    """Encoder with a decoder at its side; linear head; L = CE + `drawing` L1 of real faces + `metric` L_m."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        drawing: float = 0.1,
        metric: float = 0.1,
        dropout: float = 0.2,
    ) -> None:
        """`size`: side of the crop, pixels. `drawing`, `metric`: weights of the two losses; 0 leaves one out."""
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        *self.cuts, (first, second, third) = CUTS[network]
        drawn, joined, weighed = (self.body.width(str(c)) for c in self.cuts)
        self.ups = nn.ModuleList([_Up(drawn, first), _Up(first, second), _Up(second, third)])
        self.draw = nn.Sequential(nn.Conv2d(third, 3, 1, bias=False), nn.Tanh())
        self.join = _Graph(joined, first, second, dropout)
        self.weigh = _Guided(weighed, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.drawing, self.metric = drawing, metric

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out, drawn, maps = self._seen(batch.image)
        terms = {"cls": cross_entropy(out.logits, batch)}
        if self.drawing:
            terms["drawing"] = self.drawing * reconstruction(drawn, 2 * batch.image - 1, batch.label)
        if self.metric:
            parts = [spread(m.mean((2, 3)), batch.label) for m in maps]
            terms["metric"] = self.metric * torch.stack(parts).sum()
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into the encoder, in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor, list[Tensor]]:
        """The answer; the face drawn anew (B, 3, H, W) in -1..1; the maps whose means the metric is about."""
        from_, joined, weighed = (str(c) for c in self.cuts)
        first = self.body.run(self.body.normalised(image), until=from_)
        second = self.ups[0](self.dropout(first))
        third = self.ups[1](second)
        drawn = F.interpolate(self.draw(self.ups[2](third)), image.shape[-2:], mode="bilinear", align_corners=True)
        x = self.body.run(first, from_, joined)
        x = self.body.run(x + self.join(x, second, third), joined, weighed)
        x = self.weigh(x, (2 * image - 1 - drawn).abs())
        features = self.body.run(x, weighed).mean((2, 3))
        return Output(self.head(self.dropout(features)), features), drawn, [first, second, third]


def reconstruction(drawn: Tensor, image: Tensor, label: Tensor) -> Tensor:
    """Mean absolute difference over the real faces of a batch; 0 without any.

    Args:
        drawn, image: (N, 3, H, W); label: (N,), 0 = real.
    """
    error = (drawn - image).abs().mean((1, 2, 3))
    return (error * (label == 0)).sum() / (label == 0).sum().clamp_min(1)


def spread(features: Tensor, label: Tensor) -> Tensor:
    """L_m = mean of d over pairs of two real faces - mean of d over pairs of a real and a fake one, d = (1 - cos) / 2.

    Forged faces are not drawn together: they have nothing in common. A mean over no pairs is 0.

    Args:
        features: (N, D); label: (N,), 0 = real.
    """
    unit = F.normalize(features.float(), dim=1)
    d = (1 - unit @ unit.T) / 2
    real = label == 0
    alike = real[:, None] & real & ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    apart = real[:, None] & ~real
    within, between = ((d * m).sum() / m.sum().clamp_min(1) for m in (alike, apart))
    return within - between


def _separable(inside: int, out: int) -> list[nn.Module]:
    across = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
    return [across, nn.Conv2d(inside, out, 1, bias=False), nn.BatchNorm2d(out)]


class _Up(nn.Module):
    """Twice the side; a separable convolution, then three more with a way round them, as in Xception's middle."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), *_separable(inside, out), nn.ReLU())
        self.rest = nn.Sequential(*(m for _ in range(3) for m in (nn.ReLU(), *_separable(out, out))))

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.first(x)
        both: Tensor = first + self.rest(first)
        return both


class _Graph(nn.Module):
    """Each place of the encoder's map gathers the places of the decoder's maps that lie under it.

    Two by two of the first one and four by four of the second, weighed by the softmax of ReLU(w [a; b]), then gated by
    1 - sigmoid(G a): what the encoder knows by itself it does not take.
    """

    def __init__(self, width: int, first: int, second: int, dropout: float) -> None:
        super().__init__()
        inner = max(width // 3, 8)

        def embed(channels: int) -> nn.Sequential:
            two = (nn.Conv2d(c, inner, 1, bias=False) for c in (channels, inner))
            return nn.Sequential(next(two), nn.ReLU(), next(two))

        self.own, self.first, self.second = embed(width), embed(first), embed(second)
        self.gates = nn.ModuleList(nn.Conv2d(width, inner, 1, bias=False) for _ in range(2))
        self.weights = nn.ModuleList(nn.Linear(2 * inner, 1, bias=False) for _ in range(2))
        outward = (nn.Conv2d(3 * inner, width, 1, bias=False), nn.ReLU(), nn.Conv2d(width, width, 1, bias=False))
        self.back = nn.Sequential(*outward, nn.Dropout(dropout))

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        own = self.own(x)
        sides = ((self.first, first, 2), (self.second, second, 4))
        gathered = [own]
        for (embed, maps, ratio), gate, weight in zip(sides, self.gates, self.weights, strict=True):
            below = _cells(embed(maps), own.shape[-2:], ratio)  # (B, C, h, w, ratio^2)
            both = torch.cat([own[..., None].expand_as(below), below], 1).movedim(1, -1)
            share = F.relu(weight(both)).softmax(3).movedim(-1, 1)  # over the places below
            gathered.append((below * share).sum(4) * (1 - gate(x).sigmoid()))
        back: Tensor = self.back(torch.cat(gathered, 1).sigmoid())
        return back


def _cells(maps: Tensor, size: torch.Size, ratio: int) -> Tensor:
    """(B, C, H, W) -> (B, C, h, w, ratio^2): what lies under each place of a map of `size` h, w."""
    height, width = size
    fitted: Tensor = F.interpolate(maps, (height * ratio, width * ratio), mode="nearest")
    cells: Tensor = fitted.unflatten(3, (width, ratio)).unflatten(2, (height, ratio))  # (B, C, h, ratio, w, ratio)
    return cells.transpose(3, 4).flatten(4)


class _Guided(nn.Module):
    """A h(x) + x, with A in 0..1 made of where the drawing differs from the face."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        look, shrink = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(3, 1, 1, bias=False)
        self.where = nn.Sequential(look, nn.ReLU(), shrink, nn.Sigmoid())
        self.h = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, difference: Tensor) -> Tensor:
        attention = self.where(F.interpolate(difference, x.shape[-2:], mode="bilinear", align_corners=True))
        guided: Tensor = attention * self.h(x) + self.dropout(x)
        return guided
