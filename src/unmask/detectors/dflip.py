"""DFLIP: is an image generated, by which family of generators, and by which version within the family.

The idea in three sentences. A profile has levels: generated or not, the generator's family, the version in that family;
a version is believed only as far as its family is. Families and versions answer with evidence instead of a softmax, so
that an image by a generator that nobody has shown leaves little evidence for any, and its uncertainty is high. Real
images must leave no evidence at all.

Wang et al.: "Linguistic Profiling of Deepfakes: An Open Database for Next-Generation Deepfake Detection", arXiv
2401.02335 (DFLIP-3K). Evidence: Sensoy et al., NeurIPS 2018. Classes are "real" and generators: "family", or
"family/version" (label `version` of a recipe).

Where it differs from the authors' later code. Logits are the logarithms of the products P(fake) P(family) P(version |
family), so that a softmax gives them back; their mixture of levels by softmax(1 / uncertainty) saturates where the
uncertainty goes to 0, and is left out. The prompt of an image is predicted elsewhere (`unmask.measure.prompts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output
from unmask.nn.convnets import ConvNet
from unmask.nn.precision import full

CARD = {
    "title": "DFLIP (hierarchical evidential profile)",
    "paper": "Wang et al., arXiv 2401.02335",
    "task": "an image -> real or generated, the generator's family and version, and how uncertain that is",
    "evidence": "spatial network",
    "licence": "Apache-2.0; written from a description, the authors' code has no licence",
    "verified": "evidence, divergence and hierarchy by hand; no published number is known to be right",
    "small": {"network": "tiny-resnet", "size": 32},
}


def evidential_loss(alpha: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over rows of sum_c (y_c - a_c / S)^2 + a_c (S - a_c) / (S^2 (S + 1)), S = sum of a (Sensoy et al., eq. 5).

    Args:
        alpha: (B, C), 1 + evidence. target: (B,) class. mask: (B, C) classes that are possible for the row.
    """
    a = alpha * mask
    total = a.sum(1, keepdim=True)
    y = F.one_hot(target, a.shape[1]).to(a.dtype)
    spread = a * (total - a) / (total**2 * (total + 1))
    return (((y - a / total) ** 2) * mask + spread).sum(1).mean()


def no_evidence(alpha: Tensor) -> Tensor:
    """Mean over rows of KL(Dirichlet(alpha) || Dirichlet(1, ..., 1)), alpha (B, C): 0 where there is no evidence."""
    total, classes = alpha.sum(1), alpha.shape[1]
    constant = torch.lgamma(total) - torch.lgamma(alpha).sum(1) - torch.lgamma(torch.tensor(float(classes)))
    rest = ((alpha - 1) * (torch.digamma(alpha) - torch.digamma(total)[:, None])).sum(1)
    return (constant + rest).mean()


def uncertainty(alpha: Tensor) -> Tensor:
    """(B, C) -> (B,) C / S: 1 without evidence, near 0 with much."""
    return alpha.shape[1] / alpha.sum(1)


def within(alpha: Tensor, family: Tensor, families: int) -> Tensor:
    """(B, V) alpha of versions -> (B, V) P(version | its family), by each family's own sum.

    Args:
        family: (V,) of each version.
    """
    member = F.one_hot(family, families).to(alpha.dtype)
    return alpha / (alpha @ member @ member.T)


@dataclass(frozen=True)
class Profile:
    """What is said of B images. `version` lies in `family` always; indices into `DFLIP.families` and `leaves`."""

    fake: Tensor  # (B,) P(generated)
    family: Tensor  # (B,)
    version: Tensor  # (B,)
    uncertainty: Tensor  # (B,) of the family, 0..1


class DFLIP(Detector):
    """A convolutional network looked at after its last steps, and a head for each level of the profile."""

    family_of: Tensor

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 224,
        levels: int = 2,
        evidence: float = 0.1,
        auxiliary: float = 0.1,
        dropout: float = 0.3,
    ) -> None:
        """
        Args:
            levels: last steps of the network whose means are looked at together.
            evidence: weight of the evidential terms; auxiliary: of the family's cross-entropy.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.looked_at = list(self.body.steps)[-levels:]
        wide = sum(self.body.width(step) for step in self.looked_at)
        self.leaves = [name for name in self.classes if name != "real"]
        self.families = sorted({name.partition("/")[0] for name in self.leaves})
        of = torch.tensor([self.families.index(name.partition("/")[0]) for name in self.leaves])
        self.register_buffer("family_of", of, persistent=False)
        self.binary = nn.Linear(wide, 1) if "real" in self.classes else None
        self.family = _head(wide, len(self.families), dropout) if len(self.families) > 1 else None
        self.version = nn.Linear(wide, len(self.leaves)) if len(self.leaves) > len(self.families) else None
        self.weights = (evidence, auxiliary)

    def forward(self, image: Tensor) -> Output:
        features = self._features(image)
        return Output(self._log_probabilities(features), features)

    def profile(self, image: Tensor) -> Profile:
        """(B, 3, H, W) RGB in 0..1 -> the levels one by one, the version sought in the likeliest family."""
        features = self._features(image)
        family, version = self._alpha(features)
        likeliest = family.argmax(1)
        inside = self.family_of[None] == likeliest[:, None]
        fake = torch.ones(len(image)) if self.binary is None else self.binary(features)[:, 0].sigmoid()
        return Profile(fake, likeliest, version.masked_fill(~inside, 0).argmax(1), uncertainty(family))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = BCE + 0.1 (evidence of family and version on generated images, none on real ones) + 0.1 CE of family."""
        features = self._features(batch.image)
        evidence, auxiliary = self.weights
        real = torch.zeros_like(batch.label, dtype=torch.bool)
        terms = {}
        if self.binary is not None:
            real = batch.label == self.classes.index("real")
            logit = full(self.binary(features)[:, 0])
            terms["binary"] = F.binary_cross_entropy_with_logits(logit, (~real).to(logit.dtype))
        leaf = self._leaf(batch.label)
        family, version = self._alpha(features)
        made, possible = ~real, torch.ones_like(family)
        for name, head, alpha in (("family", self.family, family), ("version", self.version, version)):
            if head is None:
                continue
            target = self.family_of[leaf] if name == "family" else leaf
            if name == "version":
                possible = (self.family_of[None] == self.family_of[leaf][:, None]).to(alpha.dtype)
            if made.any():
                terms[name] = evidence * evidential_loss(alpha[made], target[made], possible[made])
            if real.any():
                terms[f"{name}_none"] = evidence * no_evidence(alpha[real])
        if self.family is not None and made.any():
            logits = full(self.family(features))
            terms["auxiliary"] = auxiliary * F.cross_entropy(logits[made], self.family_of[leaf][made])
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _features(self, image: Tensor) -> Tensor:
        maps, found, before = self.body.normalised(image), [], None
        for step in self.looked_at:
            maps = self.body.run(maps, after=before, until=step)
            found.append(maps.mean((2, 3)))
            before = step
        return torch.cat(found, 1)

    def _alpha(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """1 + evidence of families (B, F) and of versions (B, V); ones where there is no head."""
        ones = features.new_ones(features.shape[0], 1).float()  # len() would fix the batch of an export
        family = (
            ones.expand(-1, len(self.families)) if self.family is None else 1 + F.softplus(full(self.family(features)))
        )
        if self.version is None:
            return family, ones.expand(-1, len(self.leaves))
        return family, 1 + F.softplus(full(self.version(features)))

    def _leaf(self, label: Tensor) -> Tensor:
        """(B,) indices of classes -> of `leaves`; those of real images mean nothing."""
        place = [self.leaves.index(name) if name != "real" else 0 for name in self.classes]
        return torch.tensor(place, device=label.device)[label]

    def _log_probabilities(self, features: Tensor) -> Tensor:
        """(B, K), in the order of the classes: log of P(real), or of P(fake) P(family) P(version | family)."""
        family, version = self._alpha(features)
        of_family = (family / family.sum(1, keepdim=True)).log()[:, self.family_of]
        leaf = of_family + within(version, self.family_of, len(self.families)).log()
        if self.binary is None:
            return leaf
        logit = full(self.binary(features))
        leaf, real = leaf + F.logsigmoid(logit), F.logsigmoid(-logit)
        parts = {name: leaf[:, n : n + 1] for n, name in enumerate(self.leaves)} | {"real": real}
        return torch.cat([parts[name] for name in self.classes], 1)


def _head(wide: int, classes: int, dropout: float) -> nn.Sequential:
    """Linear 512, norm, ReLU, dropout, Linear 256, ReLU, dropout, Linear: the authors' family classifier."""
    return nn.Sequential(
        nn.Linear(wide, 512),
        nn.LayerNorm(512),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(256, classes),
    )
