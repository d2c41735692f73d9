"""CFM: critical clues are mined from how a face relates to its own forgery, whatever forgeries are known to look like.

The idea in three sentences. Detectors that look for what experts know (noise, borders, frequencies) stop there. So a
real face, another real one and a forgery of the first make a triplet, and cut-out patches that no prior knowledge
chose take single traces away. The forgery must lie further from its own original than the other real face does, as a
whole and in the places that differ most, and a controller lets the relation see only the leading components of the
features at first.

Luo et al.: "Beyond the Prior Forgery Knowledge: Mining Critical Clues for General Face Forgery Detection", TIFS 2023,
arXiv 2304.12489. A re-implementation from the abstract: the shape of the triplet, the two losses and the controller are
the paper's, their formulas, margins and weights are ours.

It wants pairs in the batch (`sampler: {name: paired}`).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.base.method import Engine
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "CFM (critical forgery mining)",
    "paper": "Luo et al., TIFS 2023, arXiv 2304.12489",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; the authors' code was not read",
    "verified": "triplets, both losses and the controller by hand; formulas are ours, from the abstract; no tables",
    "small": {"network": "tiny-xception", "size": 32, "cut": 0.1},
}


class CFM(Detector):
    """Any network, linear head; L = CE + `instance` L_inst + `local` L_loc on triplets."""

    def __init__(
        self,
        network: str = "xception",
        size: int = 256,
        instance: float = 0.5,
        local: float = 0.5,
        margin: float = 0.3,
        least: float = 0.25,
        places: float = 0.25,
        cut: float = 0.3,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            instance, local: weights of the two losses.
            margin: by which cosines must differ.
            least: share of the features' components that the relation sees at first; all at the end.
            places: share of the places that count as those which differ most.
            cut: side of the patch that is cut out of each training image, at most, as a share of its side; 0 = none.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.instance, self.local, self.margin = instance, local, margin
        self.least, self.places, self.cut, self.done = least, places, cut, 1.0

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(features), features)

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        self.done = engine.done
        return super().step(batch, engine)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.body(cut_out(batch.image, self.cut) if self.training and self.cut else batch.image)
        features = maps.mean((2, 3))
        terms = {"cls": cross_entropy(self.head(features), batch)}
        anchor, other, fake = triplets(batch.label, batch.pair)
        seen = principal(features, self.least + (1 - self.least) * self.done)
        terms["instance"] = self.instance * instance_loss(seen[anchor], seen[other], seen[fake], self.margin)
        near, far = maps[anchor], maps[fake]
        terms["local"] = self.local * local_loss(near, maps[other], far, self.margin, self.places)
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


def triplets(label: Tensor, pair: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (T,) of a real face, of the next other real one, and of each forgery of the first.

    A forgery whose original is not in the batch, or not known, stands beside the real faces in turn. None without two
    real faces.
    """
    real, fake = torch.nonzero(label == 0)[:, 0], torch.nonzero(label > 0)[:, 0]
    if len(real) < 2 or not len(fake):
        none = real[:0]
        return none, none, none
    place = torch.arange(len(fake), device=label.device) % len(real)
    if pair is not None:
        own = (pair[fake][:, None] == pair[real]) & (pair[fake] >= 0)[:, None]
        place = torch.where(own.any(1), own.long().argmax(1), place)
    return real[place], real[(place + 1) % len(real)], fake


def principal(features: Tensor, share: float) -> Tensor:
    """Features within the span of their leading right singular vectors, ceil(share of the rank): (N, D) -> (N, D).

    The directions carry no gradient. With share 1 nothing changes.
    """
    if share >= 1 or not len(features):
        return features
    with torch.no_grad():
        _, _, directions = torch.linalg.svd(features.float(), full_matrices=False)
        kept: Tensor = directions[: max(1, math.ceil(share * len(directions)))]
    return features.float() @ kept.T @ kept


def instance_loss(anchor: Tensor, other: Tensor, fake: Tensor, margin: float) -> Tensor:
    """Mean of max(0, cos(anchor, fake) - cos(anchor, other) + margin), (T, D) each; 0 without triplets."""
    if not len(anchor):
        return anchor.sum() * 0
    far, near = (F.cosine_similarity(anchor.float(), x.float(), dim=1) for x in (fake, other))
    return (far - near + margin).relu().mean()


def local_loss(anchor: Tensor, other: Tensor, fake: Tensor, margin: float, places: float) -> Tensor:
    """The same of maps (T, C, h, w), place by place, over the share of places where anchor and fake are least alike."""
    if not len(anchor):
        return anchor.sum() * 0
    far, near = (F.cosine_similarity(anchor.float(), x.float(), dim=1).flatten(1) for x in (fake, other))
    count = max(1, round(places * far.shape[1]))
    least = far.topk(count, 1, largest=False)
    return (least.values - near.gather(1, least.indices) + margin).relu().mean()


def cut_out(image: Tensor, largest: float) -> Tensor:
    """Each image with one square patch, of random size and place, replaced by its mean colour."""
    n, _, height, width = image.shape
    draw = torch.rand(3, n, 1, device=image.device)
    side = largest * draw[0]
    rows, columns = (torch.arange(s, device=image.device)[None] / s for s in (height, width))
    top, left = (1 - side) * draw[1], (1 - side) * draw[2]
    down, along = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    return torch.where((down[:, :, None] & along[:, None])[:, None], image.mean((2, 3), keepdim=True), image)
