"""CPL: faces by generators that somebody has named, and clusters of those by generators that nobody has.

The idea in three sentences. Each unlabelled face is paired with its nearest neighbour, and the pair is kept only where
the parts of both faces agree with the whole (global-local voting); pairs are drawn to one class, which may be a new
one. Soft pseudo-labels, drawn with Gumbel noise, count by how sure the network is of them. An entropy over the batch
keeps all faces from falling into one class, and a margin slows the named classes down until the new ones keep up.

Sun et al.: "Contrastive Pseudo Learning for Open-World DeepFake Attribution", ICCV 2023, arXiv 2309.11132. In a recipe
with `open_world`, the last classes are slots for new ones; how many is given, as in the paper.

Where it differs from the authors' code. Their pseudo-label weight p(k) carries a gradient that can lower confidence
instead of fitting; here it is detached (`detach: false` is theirs). Their vote never looks at the pair itself
(`voting: code`); `voting: pair` reads the paper's text: the parts must name the same neighbour as the whole. Their
later stages train anew on predictions that were written down; here, from `relabel` of the run on, unlabelled rows whose
probability is at least `cut` are labelled by the network of the moment. Short batches are not skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output
from unmask.base.method import Engine
from unmask.nn.open_world import (
    NeckedClassifier,
    labelled_partner,
    mean_entropy,
    nearest,
    same_class,
    slowed_cross_entropy,
)
from unmask.nn.precision import full

CARD = {
    "title": "CPL (contrastive pseudo learning)",
    "paper": "Sun et al., ICCV 2023, arXiv 2309.11132",
    "task": "faces by known generators, and unlabelled ones -> known classes and clusters of new ones",
    "evidence": "foundation features",
    "licence": "Apache-2.0; written from a description. No weights were ever published",
    "verified": "each formula by hand; the voting ablation on made-up fingerprints; no published table",
    "small": {"network": "tiny-resnet", "size": 32, "dropout": 0.0},
}
Voting = Literal["code", "pair", "global", "none"]


def local_similarity(parts: Tensor) -> Tensor:
    """(B, P, D) -> (B, B): s(a, b) = sum over parts q of w_aq cos(f_aq, f_bq), w_aq the share of part q in a's norm.

    The weights are the first argument's: s is not symmetric.
    """
    x = full(parts)
    norm = x.norm(dim=2)
    weight = norm / norm.norm(dim=1, keepdim=True).clamp_min(1e-12)
    unit = F.normalize(x, dim=2)
    return torch.einsum("ap,apd,bpd->ab", weight, unit, unit)


def vote(neighbour: Tensor, local: Tensor, rule: Voting) -> Tensor:
    """(B,) whether each row's nearest neighbour is accepted as its partner.

    code    the second-largest of row i of the local similarity >= the second-largest of column j (the largest is
            usually the row with itself): the authors' code
    pair    j is also i's nearest other by the local similarity
    global  always

    Args:
        neighbour: (B,) j, the nearest other by the whole. local: (B, B).
    """
    if rule == "global":
        return torch.ones_like(neighbour, dtype=torch.bool)
    if rule == "pair":
        others = local.masked_fill(torch.eye(len(local), dtype=torch.bool, device=local.device), -torch.inf)
        return others.argmax(1) == neighbour
    row, column = local.topk(2, 1).values[:, 1], local.topk(2, 0).values[1]
    return row >= column[neighbour]


def partners(features: Tensor, parts: Tensor, label: Tensor, rule: Voting) -> tuple[Tensor, Tensor]:
    """Each row's partner (B,), itself where none was accepted, and whether one was (B,).

    Args:
        features: (B, D). parts: (B, P, D). label: (B,), -1 = unlabelled.
    """
    named, itself = label >= 0, torch.arange(len(label), device=label.device)
    neighbour = nearest(features)
    accepted = vote(neighbour, local_similarity(parts), rule) | named
    found = torch.where(named, labelled_partner(label), neighbour)
    return torch.where(accepted, found, itself), accepted


def soft_pseudo_loss(logits: Tensor, unlabelled: Tensor, accepted: Tensor, detach: bool = True) -> Tensor:
    """Mean over unlabelled rows of accepted_i p_i(k) CE(z_i, q_i), q Gumbel-softmax of z at 1, k its largest.

    Args:
        logits: (B, K). unlabelled, accepted: (B,) bool. detach: whether p_i(k) carries no gradient.
    """
    if not unlabelled.any():
        return logits.sum() * 0
    z = full(logits[unlabelled])
    q = F.gumbel_softmax(z.detach(), tau=1.0)
    sure = z.softmax(1).gather(1, q.argmax(1, keepdim=True))[:, 0]
    cross = -(q * z.log_softmax(1)).sum(1)
    return ((sure.detach() if detach else sure) * cross * accepted[unlabelled]).mean()


class CPL(Detector):
    """ResNet, BN neck, linear head; nine part features that vote in training. Trained with labels and without."""

    def __init__(
        self,
        network: Literal["resnet-50", "resnet-34", "small-resnet", "tiny-resnet"] = "resnet-50",
        size: int = 256,
        margin: float = 0.2,
        voting: Voting = "code",
        voting_weight: float = 0.5,
        pseudo_weight: float = 0.5,
        entropy: float = 1.0,
        detach: bool = True,
        supervised: float = 0.0,
        relabel: float = 1.0,
        cut: float = 0.95,
        dropout: float = 0.2,
        cells: int = 3,
    ) -> None:
        """
        Args:
            network: the paper's is ResNet-50. size: side of the crop, pixels.
            margin: that slows named classes down.
            voting: the rule by which a neighbour is accepted; "none" leaves out pairs of unlabelled rows, so that with
                `pseudo_weight` 0 cross-entropy and entropy remain: the line that voting has to beat.
            voting_weight, pseudo_weight, entropy: weights of the three terms beside the cross-entropy.
            detach: see the top of this file.
            supervised: share of the run that learns from labelled rows alone (the first stage).
            relabel: share of the run after which sure unlabelled rows are labelled (later stages); 1 = never.
            cut: the probability from which on a row is sure.
            cells: parts along a side; 3 = nine parts.
        """
        super().__init__()
        self.net = NeckedClassifier(network, len(self.classes), dropout)
        self.input = self.net.body.input(size)
        self.part_norms = nn.ModuleList(nn.BatchNorm1d(self.net.body.features, affine=False) for _ in range(cells**2))
        self.margin, self.voting, self.cells, self.detach, self.cut = margin, voting, cells, detach, cut
        self.weights = (voting_weight, pseudo_weight, entropy)
        self.supervised, self.relabel, self.done = supervised, relabel, 1.0

    def forward(self, image: Tensor) -> Output:
        logits, features, _ = self.net(image)
        return Output(logits, features)

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        self.done = engine.done
        return super().step(batch, engine)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = CE + 0.5 voting + 0.5 pseudo - entropy of the mean; rows of label -1 have no part in the first."""
        logits, features, maps = self.net(batch.image)
        label = self._relabelled(logits, batch.label)
        terms = {"cls": slowed_cross_entropy(logits, label, self.margin)}
        if self.done < self.supervised:
            return terms
        voting, pseudo, entropy = self.weights
        terms["entropy"] = -entropy * mean_entropy(logits)
        accepted = torch.ones_like(label, dtype=torch.bool)
        if self.voting != "none":
            with torch.no_grad():
                partner, accepted = partners(features, self._parts(maps), label, self.voting)
            terms["voting"] = voting * same_class(logits, partner)
        if pseudo:
            terms["pseudo"] = pseudo * soft_pseudo_loss(logits, label < 0, accepted, self.detach)
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.net.body.load_pretrained(weights)

    def _parts(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, P, D), each part through a norm of its own."""
        cells = F.adaptive_avg_pool2d(maps, self.cells).flatten(2)
        return torch.stack([norm(cells[..., n]) for n, norm in enumerate(self.part_norms)], 1)

    def _relabelled(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.done < self.relabel or self.relabel >= 1:
            return label
        sure, k = full(logits.detach()).softmax(1).max(1)
        return torch.where((label < 0) & (sure >= self.cut), k, label)
