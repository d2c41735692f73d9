"""DLIF: whether a face is live must not depend on whose face it is.

The idea in three sentences. Presentation attacks look different in each data set, and a detector learns cameras and
people instead of liveness. So each identity is taken for a domain: a second network learns identities, and the features
of liveness are made orthogonal to its features and useless for its classifier. Both see their images in other styles
too (statistics of maps of another data set, or of the same person's other kind), and all real faces are drawn together
while each attack stays a class of its own.

Yang et al.: "Generalized Face Anti-spoofing via Finer Domain Partition and Disentangling Liveness-irrelevant Factors",
ECAI 2024, arXiv 2407.08243.

Where it differs from the authors' code. Cosines are true cosines: there the weights' norm is meant and not taken. A
style's source is drawn anew for each image, where there whole thirds of a batch are rolled. Both networks learn in one
step, each from its own terms. Features of the answer's distance are means over places. Label 1 is an attack.

The error rate to report is HTER at the threshold of development rows (`unmask eval bench presentation-attack`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output
from unmask.errors import InputError, RecipeError
from unmask.nn.angular import am_softmax
from unmask.nn.contrastive import cosines, supervised_contrastive
from unmask.nn.convnets import ConvNet
from unmask.nn.fixed import exactly
from unmask.nn.style import adain

CARD = {
    "title": "DLIF (disentangled liveness and identity)",
    "paper": "Yang et al., ECAI 2024, arXiv 2407.08243",
    "task": "one aligned face -> bona fide or presentation attack",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the authors' code is MIT, not used; the network is timm's, Apache-2.0",
    "verified": "all terms by hand, and which network each reaches; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 64, "identities": 2, "margins": (0.1, 0.1)},
}

STAGES = ("maxpool", "layer1", "layer2", "layer3", "layer4")
# After which stages a level of style cross acts; "low" acts on the image too.
LEVELS = {"low": ("", "maxpool"), "middle": ("layer1", "layer2"), "high": ("layer3", "layer4")}
Level = Literal["low", "middle", "high"]


class DLIF(Detector):
    """Two ResNets: U for liveness, gated channel by channel, and V for identity, which training alone needs.

    L = AM-softmax(U) + CE(V, identity) + `contrast` (both) + `orthogonal` (f_u f_v)^2 + `ambiguity` (both)
    """

    def __init__(
        self,
        network: str = "resnet-18",
        size: int = 256,
        identities: int = 55,
        scale: float = 30.0,
        margins: tuple[float, float] = (0.4, 0.1),
        levels: tuple[Level, ...] = ("middle", "high"),
        temperature: float = 0.02,
        contrast: float = 1.0,
        orthogonal: float = 1.0,
        ambiguity: float = 1.0,
    ) -> None:
        """
        Args:
            network: a ResNet of `unmask.nn.convnets`.
            size: side of the crop, pixels.
            identities: people in the training data, at least; 0 = V and its terms are left out (the baseline).
            scale, margins: s of the cosines, and m of bona fide and of attacks.
            levels: each makes one more view of each image in another style; none = no contrast of views.
            contrast, orthogonal, ambiguity: weights of the terms; 0 leaves one out.
        """
        super().__init__()
        self.live = _Trunk(network, gated=True)
        self.who = _Trunk(network, gated=False) if identities else None
        self.input = self.live.body.input(size)
        wide = self.live.flat(size)
        self.head = nn.Linear(wide, len(self.classes), bias=False)
        self.identity = nn.Linear(wide, identities, bias=False) if identities else None
        self.scale, self.margins, self.temperature, self.levels = scale, margins, temperature, levels
        self.weights = {"contrast": contrast, "orthogonal": orthogonal, "ambiguity": ambiguity}

    def forward(self, image: Tensor) -> Output:
        """Raises: UnmaskError for crops of another size than it was built for."""
        maps = self.live(exactly(image, self.input.size))
        return Output(self.scale * cosines(maps.flatten(1), self.head.weight), maps.mean((2, 3)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch that does not say whose faces it holds, or holds more people than known."""
        label = batch.label
        domain = torch.zeros_like(label) if batch.domain is None else batch.domain
        other = partners((label[:, None] == label) & (domain[:, None] != domain))
        u = self._views(self.live, batch.image, other)
        terms = {"cls": am_softmax(cosines(u[0], self.head.weight), label, self.margins, self.scale)}
        if self.weights["contrast"] and len(u) > 1:
            terms["contrast"] = self.weights["contrast"] * asymmetric_contrast(u, label, self.temperature)
        if self.who is not None and self.identity is not None:
            terms |= self._identity_terms(self.who, self.identity, batch, u[0])
        return terms

    def _identity_terms(self, who: _Trunk, identity: nn.Linear, batch: Batch, u: Tensor) -> dict[str, Tensor]:
        whose, label = self._whose(batch), batch.label
        v = self._views(who, batch.image, partners((whose[:, None] == whose) & (label[:, None] != label)))
        logits = self.scale * cosines(v[0], identity.weight)
        found = {"identity": F.cross_entropy(logits, whose, ignore_index=-1)}
        found["identity"] = torch.where((whose >= 0).any(), found["identity"].nan_to_num(), 0)
        if len(v) > 1:
            found["identity_contrast"] = supervised_contrastive(torch.cat(v), whose.repeat(len(v)), self.temperature)
        found["orthogonal"] = overlap(u, v[0].detach()) + overlap(v[0], u.detach())
        found["ambiguity"] = ambiguity(u, identity.weight.detach()) + ambiguity(v[0], self.head.weight.detach())
        weight = self.weights | {"identity": 1.0, "identity_contrast": self.weights["contrast"]}
        return {name: weight[name] * term for name, term in found.items() if weight[name]}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights into both networks, in timm's layout, see `unmask.nn.convnets`."""
        for trunk in (self.live, self.who):
            if trunk is not None:
                trunk.body.load_pretrained(weights)

    def _views(self, trunk: _Trunk, image: Tensor, style: Tensor) -> list[Tensor]:
        """Unit features (B, D) of the images as they are, and with the style of others at each level."""
        ways = [trunk(image), *(trunk(image, style, level) for level in self.levels)]
        return [F.normalize(maps.flatten(1), dim=1) for maps in ways]

    def _whose(self, batch: Batch) -> Tensor:
        if batch.identity is None:
            raise RecipeError("dlif learns from identities, and the batch has none: set options.identities=0")
        count = self.identity.out_features if self.identity is not None else 0
        if bool((batch.identity >= count).any()):
            raise InputError(
                f"the batch holds identity {int(batch.identity.max())}, counted from 0, and this dlif knows {count}: "
                "set options.identities to the number of people in the training data"
            )
        return batch.identity


class _Trunk(nn.Module):
    """A ResNet -> its last maps, gated after each stage where that is asked for."""

    def __init__(self, network: str, gated: bool) -> None:
        super().__init__()
        self.body = ConvNet(network)
        widths = [self.body.width(stage) for stage in STAGES[1:]]
        self.gates = nn.ModuleList(_Gate(width) if gated else nn.Identity() for width in widths)

    def flat(self, size: int) -> int:
        """Length of the flattened maps of a crop."""
        with torch.device("meta"):
            maps: Tensor = ConvNet(self.body.name).eval()(torch.zeros(1, 3, size, size))
        return maps.numel()

    def forward(self, image: Tensor, style: Tensor | None = None, level: Level | None = None) -> Tensor:
        """`style`: (B,) for each image the row whose statistics its maps take at the `level`."""
        places = LEVELS[level] if level is not None and style is not None else ()
        x, before = self.body.normalised(image), None
        if "" in places:
            x = adain(x, x[style])
        for n, stage in enumerate(STAGES):
            x = self.body.run(x, before, stage)
            x = self.gates[n - 1](x) if n else x
            if stage in places and x.shape[-1] > 1:
                x = adain(x, x[style])
            before = stage
        return x


class _Gate(nn.Module):
    """Channel-wise attention from each channel's mean and variance (CWSA): x sigmoid(W2 ReLU(W1 [mean; variance]))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(width // 16, 2)
        self.weigh = nn.Sequential(
            nn.Linear(2 * width, narrow, bias=False), nn.ReLU(), nn.Linear(narrow, width, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        statistics = torch.cat([x.mean((2, 3)), x.flatten(2).var(2, correction=0)], 1)
        gated: Tensor = x * self.weigh(statistics)[:, :, None, None]
        return gated


def asymmetric_contrast(views: list[Tensor], label: Tensor, temperature: float) -> Tensor:
    """SupCon over the views of each image: all bona fide faces are one class, each attack is one with its own views.

    Args:
        views: (B, D) each; label: (B,), 0 = bona fide.
    """
    alone = torch.where(label == 0, 0, 1 + torch.arange(len(label), device=label.device))
    return supervised_contrastive(torch.cat(views), alone.repeat(len(views)), temperature)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Mean over all pairs of rows of the squared product: (B, D) twice, unit vectors; 0 where they are orthogonal."""
    return (one @ other.T).square().mean()


def ambiguity(feature: Tensor, weight: Tensor) -> Tensor:
    """Mean squared distance of the cosines to K directions from 1 / K: the feature favours none. (B, D), (K, D)."""
    return (cosines(feature, weight) - 1 / len(weight)).square().mean()


def partners(may: Tensor) -> Tensor:
    """For each row of (B, B), bool, a random column that is true, or the row itself where none is: (B,)."""
    drawn = torch.rand(may.shape, device=may.device).masked_fill(~may, -1)
    return torch.where(may.any(1), drawn.argmax(1), torch.arange(len(may), device=may.device))
