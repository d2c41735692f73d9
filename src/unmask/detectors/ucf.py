"""UCF: a face is taken apart into content, what all forgeries have in common, and what only one method leaves behind.

The idea in three sentences. Detectors learn the content of their training faces and the marks of the methods that they
saw, and fail on others. So one encoder takes up the content and another the forgery, whose features are divided into a
part that tells the methods apart and a part that tells real from fake; a decoder that has to rebuild each face from any
forgery's features and its own content keeps the two encoders' shares apart. The common part alone decides.

Yan et al.: "UCF: Uncovering Common Features for Generalizable Deepfake Detection", ICCV 2023, arXiv 2304.13949; sizes
and weights are those of DeepfakeBench's configuration.

Where it differs from the paper or from DeepfakeBench. Sizes, weights and the margin are DeepfakeBench's. Its negative
of a method's features is an image of the other class; here it is one of any other method, real ones included, as
remembered from the paper. Triplets are drawn afresh for each row, where there whole halves are permuted. The training
data may have any number of methods up to the option `methods`; what made real images is not looked at.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import InputError, RecipeError
from unmask.nn.convnets import ConvNet
from unmask.nn.style import adain

CARD = {
    "title": "UCF (uncovering common features)",
    "paper": "Yan et al., ICCV 2023, arXiv 2304.13949",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; DeepfakeBench's weights are CC BY-NC 4.0",
    "verified": "all terms by hand, which loss reaches which part, the published layout; no tables",
    "small": {"network": "tiny-resnet", "size": 64, "width": 16, "methods": 2, "dropout": 0.0},
}

Network = Literal["xception", "efficientnet-b4", "resnet-34", "small-resnet", "tiny-resnet", "tiny-efficientnet"]


class UCF(Detector):
    """Forgery encoder, common part, mean over places, two layers; the rest of it serves the training alone.

    L = CE(common, real or fake) + `specific` CE(specific, method) + `reconstruction` L_rec + `contrast` L_con
    """

    def __init__(
        self,
        network: Network = "xception",
        content_network: Network | None = None,
        size: int = 256,
        methods: int = 4,
        width: int = 512,
        shuffle: float = 0.7,
        dropout: float = 0.2,
        margin: float = 3.0,
        specific: float = 0.1,
        reconstruction: float = 0.3,
        contrast: float = 0.05,
    ) -> None:
        """
        Args:
            network: of the forgery encoder.
            content_network: of the content encoder, which only training needs; None = the same.
            size: side of the crop, pixels.
            methods: of forgery in the training data, at least.
            width: channels of each encoder's features; the common and the specific part have half of them each.
            shuffle: how often a batch trains on common features that changed places within their class.
            dropout: of both heads' logits, in training.
            margin: of the contrast, a distance in the space of pooled features.
            specific, reconstruction, contrast: weights of the terms.
        Raises: UnmaskError for crops whose maps have a single place, of which there is no deviation.
        """
        super().__init__()
        if size < 64:
            raise InputError(f"a crop of {size} pixels leaves one place to describe: ucf needs 64 or more")
        self.forgery, self.content = _Encoder(network, width), _Encoder(content_network or network, width)
        self.input = self.forgery.body.input(size)
        half = width // 2
        self.common, self.specific = _part(width, half), _part(width, half)
        self.common_head = _head(half, width, len(self.classes), dropout)
        self.specific_head = _head(half, width, 1 + methods, dropout)
        self.decoder = _Decoder(width)
        self.methods, self.shuffle, self.margin = methods, shuffle, margin
        self.weights = {"specific": specific, "reconstruction": reconstruction, "contrast": contrast}

    def forward(self, image: Tensor) -> Output:
        features = self.common(self.forgery(image)).mean((2, 3))
        return Output(self.common_head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch that is not half real, and for a method beyond `methods`."""
        rows, method = self._halves(batch)
        image, label = batch.image[rows], batch.label[rows]
        forgery, content = self.forgery(image), self.content(image)
        common, specific = self.common(forgery), self.specific(forgery)
        if torch.rand(()) < self.shuffle:
            order = _shuffled(len(label) // 2)
            common, rows = common[order], rows[order]
        pooled = {"common": common.mean((2, 3)), "specific": specific.mean((2, 3))}
        terms = {
            "common": cross_entropy(self.common_head(pooled["common"])[rows.argsort()], batch),
            "specific": F.cross_entropy(self.specific_head(pooled["specific"]), method),
            "reconstruction": self._reconstruction(image, torch.cat([specific, common], 1), content),
            "contrast": contrast(pooled["common"], label, label, self.margin)
            + contrast(pooled["specific"], method, label, self.margin),
        }
        return {name: self.weights.get(name, 1.0) * value for name, value in terms.items()}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout into both encoders, see `unmask.nn.convnets`.

        Raises: UnmaskError for a file that does not fit, and where the encoders are of different networks.
        """
        if self.forgery.body.name != self.content.body.name:
            raise InputError("one file cannot start two networks: leave out options.content_network")
        self.forgery.body.load_pretrained(weights)
        self.content.body.load_pretrained(weights)

    def _reconstruction(self, image: Tensor, forgery: Tensor, content: Tensor) -> Tensor:
        """Sum of four mean absolute errors: real and fake faces, from their own forgery and from the other half's."""
        size = (image.shape[2], image.shape[3])
        halves = (2 * image - 1).chunk(2)
        own = self.decoder(forgery, content, size)
        crossed = self.decoder(torch.cat(forgery.chunk(2)[::-1]), content, size)
        made = own.chunk(2) + crossed.chunk(2)
        return torch.stack([F.l1_loss(m, face) for m, face in zip(made, halves + halves, strict=True)]).sum()

    def _halves(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's rows, real ones first, and their methods; method 0 is none, those of forgeries follow."""
        real, fake = (torch.nonzero(batch.label == k)[:, 0] for k in (0, 1))
        if len(real) != len(fake) or len(real) + len(fake) != len(batch.label):
            raise RecipeError(
                f"ucf trains on batches that are half real, and this one has {len(real)} real and {len(fake)} forged "
                "images: choose the sampler by_class, by_method or paired"
            )
        if batch.method is None:
            raise InputError("ucf has to know what made each forgery, and the batch does not say")
        made = batch.method[fake]
        if bool(((made < 0) | (made >= self.methods)).any()):
            raise InputError(
                f"the batch holds a forgery of method {int(made.max())}, counted from 0, and this ucf tells "
                f"{self.methods} apart: set options.methods to the number of methods in the training data"
            )
        return torch.cat([real, fake]), torch.cat([torch.zeros_like(made), made + 1])


class _Encoder(nn.Module):
    """(B, 3, H, W) in 0..1 -> maps (B, width, h, w)."""

    def __init__(self, network: str, width: int) -> None:
        super().__init__()
        self.body = ConvNet(network)
        if network == "xception":
            self.body.body.act4 = nn.Identity()  # the mapping reads what stands before the last ReLU, as published
        self.adjust = nn.Sequential(nn.Conv2d(self.body.features, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.adjust(self.body(image))
        return maps


class _Decoder(nn.Module):
    """Forgery and content (B, width, h, w) -> faces (B, 3, H, W) in -1..1: the content, in the forgery's statistics.

    Both go through the same convolutions, the forgery for its statistics at the next scale.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        plan = [width, width // 2, width // 4, width // 8]
        self.stages = nn.ModuleList(_twice(a, b) for a, b in pairwise(plan))
        self.last = nn.Conv2d(plan[-1], 3, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, forgery: Tensor, content: Tensor, size: tuple[int, int]) -> Tensor:
        for n, stage in enumerate(self.stages):
            content = stage(self.dropout(_doubled(adain(content, forgery))))
            if n + 1 < len(self.stages):
                forgery = stage(self.dropout(_doubled(forgery)))
        return F.interpolate(self.last(content), size, mode="bilinear", align_corners=True).tanh()


def contrast(features: Tensor, kind: Tensor, label: Tensor, margin: float) -> Tensor:
    """Triplets: max(0, d(a, p) - d(a, n) + margin), the mean over real anchors plus that over fake ones.

    Every row is an anchor once; p is drawn from the others of its kind (itself, where there are none), n from the other
    kinds. Euclidean distances.

    Args:
        features: (B, D).
        kind: (B,) two different values or more.
        label: (B,) 0 and 1.
    """
    positive, negative = _partners(kind)
    near, far = (F.pairwise_distance(features, features[other]) for other in (positive, negative))
    hinge = (near - far + margin).clamp_min(0)
    return hinge[label == 0].mean() + hinge[label == 1].mean()


def _partners(kind: Tensor) -> tuple[Tensor, Tensor]:
    """For each row by chance another one of its kind, and one of another kind."""
    same = kind[:, None] == kind
    chance = torch.rand(2, *same.shape, device=kind.device)
    others_first = chance[0] + ~torch.eye(len(kind), dtype=torch.bool, device=kind.device)
    return others_first.masked_fill(~same, -1).argmax(1), chance[1].masked_fill(same, -1).argmax(1)


def _shuffled(half: int) -> Tensor:
    """Rows of two halves, each in an order of chance."""
    return torch.cat([torch.randperm(half), half + torch.randperm(half)])


def _part(inside: int, outside: int) -> nn.Sequential:
    """Three mappings of each place by itself: the share of the forgery's features that one task needs."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 1),
        nn.LeakyReLU(),
        nn.Conv2d(outside, outside, 1),
        nn.LeakyReLU(),
        nn.Conv2d(outside, outside, 1),
    )


def _head(inside: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, hidden), nn.LeakyReLU(), nn.Linear(hidden, classes), nn.Dropout(dropout))


def _twice(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(), nn.Conv2d(outside, outside, 3, padding=1), nn.ReLU()
    )


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=True)
