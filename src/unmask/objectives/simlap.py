"""SimLAP (first called Hydra): any two classes have something in common; learn where, and contrast only there.

The idea in three sentences. For an image of class y1 and a class y2 drawn at random, a gate opens those dimensions of
the embedding in which the two classes agree. Inside the gate, images of y2 are the anchor's positives and images of
neither class its negatives. So each of the C^2 pairs of classes teaches something else than the labels alone.

Wu et al.: "Rethinking Positive Pairs in Contrastive Learning" (Hydra) / "Simple Representation Learning from Arbitrary
Pairs" (SimLAP), arXiv 2410.18200. It needs class labels, three classes at least.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import info_nce
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head, with_head
from unmask.nn.precision import full
from unmask.types import UnmaskError

CARD = {
    "title": "SimLAP (arbitrary pairs)",
    "paper": "Wu et al., arXiv 2410.18200",
    "task": "labelled images of three classes or more -> an encoder",
    "licence": "Apache-2.0; written from the formulas",
    "verified": "the loss by hand and by a plain loop; the ungated control cannot be fitted; no published number",
    "small": {"network": "tiny-resnet", "size": 32, "classes": 4, "hidden": 32, "dim": 16},
}
Form = Literal["after", "before"]
Pairing = Literal["arbitrary", "identical", "distinct"]


def simlap_loss(
    embedding: Tensor, label: Tensor, other: Tensor, gate: Tensor, temperature: float = 0.1, form: Form = "after"
) -> Tensor:
    """Mean over all (anchor a, positive p) of log(e^s_ap + sum over n of e^s_an) - s_ap.

    Positives have the label `other` of their anchor (the anchor itself left out), negatives neither that nor the
    anchor's own label. Anchors without a negative teach nothing: of two classes the loss is always 0.

    Args:
        embedding: (B, D) z.
        label, other: (B,) classes y1 and y2 of each anchor.
        gate: (B, D) g in 0..1, one for each anchor; ones = no gate.
        form: unit length is given "after" the gate, s_an = cos(z_a g_a, z_n g_a) / T (the paper), or "before" it,
            s_an = sum (z_a / |z_a|) g_a^2 (z_n / |z_n|) / T.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        z, squared = full(embedding), full(gate).square()
        if form == "before":
            z = F.normalize(z, dim=1)
            similarity = (z * squared) @ z.T
        else:  # |z_n g_a|^2 = sum z_n^2 g_a^2: no tensor of B x B x D is needed
            own = (z.square() * squared).sum(1).clamp_min(EPS).rsqrt()
            others = (squared @ z.square().T).clamp_min(EPS).rsqrt()
            similarity = (z * squared) @ z.T * own[:, None] * others
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    positive = (other[:, None] == label) & ~itself
    negative = (other[:, None] != label) & (label[:, None] != label)
    return info_nce(similarity / temperature, positive, positive | negative, positives="own", reduction="pairs")


def pairing(label: Tensor, classes: int, how: Pairing = "arbitrary") -> Tensor:
    """The class y2 of each anchor, (B,), from torch's random numbers.

    arbitrary  the labels of the batch in random order
    identical  the anchor's own
    distinct   any other class; the batch may hold none of it
    """
    if how == "identical":
        return label
    if how == "arbitrary":
        return label[torch.randperm(len(label), device=label.device)]
    return (label + torch.randint(1, classes, label.shape, device=label.device)) % classes


class Gate(nn.Module):
    """(y1, y2), (B,) each -> (B, D) in 0..1; the order of the two classes does not matter."""

    def __init__(self, classes: int, dim: int, embedding: int = 512, hidden: int = 1024) -> None:
        super().__init__()
        self.of_class = nn.Embedding(classes, embedding)
        layers = [nn.ReLU(), nn.BatchNorm1d(embedding), nn.Linear(embedding, hidden, bias=False)]
        layers += [nn.ReLU(), nn.BatchNorm1d(hidden), nn.Linear(hidden, dim)]
        self.mlp = nn.Sequential(*layers)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        opened: Tensor = self.mlp((self.of_class(one) + self.of_class(other)) / 2).sigmoid()
        return opened


class SimLAP(Objective):
    """Encoder, head, gate by pair of classes, and a classifier on the side that does not move the encoder.

    Over processes each contrasts its own images. Images without a label are left out.
    """

    def __init__(
        self,
        classes: int,
        network: str = "resnet-50",
        size: int = 224,
        hidden: int = 2048,
        dim: int = 256,
        temperature: float = 0.1,
        form: Form = "after",
        pairs: Pairing = "arbitrary",
        gated: bool = True,
    ) -> None:
        """
        Args:
            classes: labels are 0 .. classes - 1; three at least.
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            hidden, dim: widths of the head.
            form, pairs: see `simlap_loss` and `pairing`.
            gated: without a gate arbitrary pairs contradict each other: the control.
        Raises: UnmaskError for fewer than three classes, of which the loss would always be 0.
        """
        super().__init__()
        if classes < 3:
            raise UnmaskError(f"SimLAP learns nothing of {classes} classes: take three or more, such as methods")
        body = ConvNet(network)
        self.input = body.input(size)
        self.student = with_head(body, head((body.features, hidden, dim), last_norm="layer"))
        self.gate = Gate(classes, dim) if gated else None
        self.classifier = nn.Linear(body.features, classes)
        self.classes, self.temperature, self.form, self.pairs = classes, temperature, form, pairs

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def loss(self, batch: Views) -> dict[str, Tensor]:
        label = batch.label.repeat(len(batch.images))
        known = label >= 0
        feature = self.student[:-1](torch.cat(batch.images)[known])
        label, z = label[known], self.student[-1](feature)
        other = pairing(label, self.classes, self.pairs)
        gate = self.gate(label, other) if self.gate else torch.ones_like(z)
        simlap = simlap_loss(z, label, other, gate, self.temperature, self.form)
        each = F.cross_entropy(self.classifier(feature.detach()), label, reduction="none")
        return {"simlap": simlap, "cls": each.sum() / max(len(label), 1)}


EPS = 1e-12
