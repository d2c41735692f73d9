"""IID: a swapped face shows one person and was made of another's, and a network learns to feel the other.

The idea in three sentences. A face recogniser reads whom a face shows, its explicit identity; in a swap that is the
source, while the head, hair and expression still are the target's, its implicit identity. A network embeds faces so
that real ones lie at their explicit identity and forged ones away from it. Forged faces are also classified by their
target with a margin, so that the embedding becomes the implicit identity and not merely something else.

Huang et al.: "Implicit Identity Driven Deepfake Face Swapping Detection", CVPR 2023. The two losses as the abstract has
them, weights as DeepfakeBench notes them (0.1 and 0.05, s 64, m 0.4); their exact formulas are ours.

The recogniser is frozen: ArcFace's iResNet-50, or what `recipes/arcface-tiny.yaml` trains. The identity of a forgery is
its target's: that of the real face of its pair, where the batch holds it, else the manifest's `identity`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.base.method import Role
from unmask.errors import InputError
from unmask.nn.angular import arcface_loss
from unmask.nn.convnets import ConvNet
from unmask.nn.iresnet import IResNet, Name, weights_under

CARD = {
    "title": "IID (implicit identity)",
    "paper": "Huang et al., CVPR 2023",
    "task": "one aligned face -> real or swapped",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; published recognisers have terms of their own",
    "verified": "both terms by hand, that the recogniser stays as it is; formulas from the abstract, no tables",
    "small": {"network": "tiny-xception", "size": 32, "recogniser": "tiny-iresnet", "recogniser_size": 32, "people": 2},
}


class IID(Detector):
    """Xception, linear head, embedding; L = CE + `explicit` L_eic + `implicit` L_iie."""

    roles: ClassVar[dict[str, Role]] = {"recogniser": "frozen"}

    def __init__(
        self,
        network: str = "xception",
        size: int = 256,
        recogniser: Name = "iresnet-50",
        recogniser_size: int = 112,
        people: int = 1000,
        explicit: float = 0.1,
        implicit: float = 0.05,
        margin: float = 0.4,
        scale: float = 64.0,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels; recogniser_size: side at which the recogniser sees it.
            people: in the training data, at least; 0 leaves L_iie out.
            explicit, implicit: weights of the two losses.
            margin, scale: m, an angle, and s of L_iie.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.recogniser, self.recogniser_size = IResNet(recogniser).requires_grad_(False).eval(), recogniser_size
        self.embed = nn.Linear(self.body.features, self.recogniser.features)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.centres = nn.Parameter(torch.randn(people, self.recogniser.features)) if people else None
        self.explicit, self.implicit, self.margin, self.scale = explicit, implicit, margin, scale

    def train(self, mode: bool = True) -> Self:
        """The recogniser keeps the statistics it was trained with."""
        super().train(mode)
        self.recogniser.eval()
        return self

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        out = self(batch.image)
        embedding = self.embed(out.features)
        terms = {"cls": cross_entropy(out.logits, batch)}
        terms["explicit"] = self.explicit * identity_contrast(embedding, self.shown(batch.image), batch.label)
        if self.centres is not None:
            terms["implicit"] = self.implicit * self._exploration(embedding, self.centres, batch)
        return terms

    def shown(self, image: Tensor) -> Tensor:
        """The explicit identity: what the recogniser sees, unit vectors (B, D)."""
        with torch.no_grad():
            side = self.recogniser_size
            small = F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False)
            return self.recogniser.embedding(small)

    def _exploration(self, embedding: Tensor, centres: Tensor, batch: Batch) -> Tensor:
        whose = target_identity(batch)
        if bool((whose >= len(centres)).any()):
            raise InputError(
                f"the batch holds identity {int(whose.max())}, counted from 0, and this iid knows {len(centres)}: set "
                "options.people to the number of people in the training data"
            )
        known = whose >= 0
        if not known.any():
            return (embedding.sum() + centres.sum()) * 0
        return arcface_loss(embedding[known], centres, whose[known], self.margin, self.scale)

    def load_pretrained(self, weights: Path) -> None:
        """Load the recogniser: what `unmask export` made of an `arcface` run, or a file with `real.*` for it and
        `image.*`, ImageNet's, for the network, as for lsda.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit.
        """
        real, image = (weights_under(weights, name) for name in ("real.", "image."))
        self.recogniser.load(real or weights_under(weights, ""), str(weights))
        if image:
            self.body.fill(image, str(weights))


def identity_contrast(embedding: Tensor, shown: Tensor, label: Tensor) -> Tensor:
    """L_eic = mean over real faces of 1 - cos + mean over forged ones of max(0, cos), cos to the explicit identity.

    Args:
        embedding, shown: (B, D) of any lengths; label: (B,), 0 = real.
    """
    cosine = F.cosine_similarity(embedding.float(), shown.float(), dim=1)
    real = label == 0
    near = ((1 - cosine) * real).sum() / real.sum().clamp_min(1)
    return near + (cosine.relu() * ~real).sum() / (~real).sum().clamp_min(1)


def target_identity(batch: Batch) -> Tensor:
    """(B,): whose head each image shows, -1 = not known: that of the real face of its pair, else its own `identity`."""
    own = torch.full_like(batch.label, -1) if batch.identity is None else batch.identity
    if batch.pair is None:
        return own
    same = (batch.pair[:, None] == batch.pair) & (batch.pair >= 0)[:, None] & (batch.label == 0)
    return torch.where(same.any(1), own[same.long().argmax(1)], own)
