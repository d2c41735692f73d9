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
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.contrastive import info_nce
from unmask.nn.precision import full

CARD = {
    "title": "SimLAP (arbitrary pairs)",
    "paper": "Wu et al., arXiv 2410.18200",
    "task": "labelled images of three classes or more -> an encoder",
    "licence": "Apache-2.0; written from the formulas",
    "verified": "the loss by hand and by a plain loop; the ungated control cannot be fitted; no published number",
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


EPS = 1e-12
