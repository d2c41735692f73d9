"""PixContrast: a spot of an image is told apart from the image's other spots, in every crop that shows it.

The idea in three sentences. Two crops of one image are encoded to feature maps, and where each place lies in the image
is known from the crops' boxes. Each place of one map is an anchor: the places of the other map within a short distance
are its positives, the rest of that map its negatives. The contrast runs within one image, so that what is learnt is
where things are and not which image it is.

Xie et al.: "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning",
CVPR 2021, arXiv 2011.10043, section 3.1; from memory, for the authors' code does not have it. PixPro is its successor.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.contrastive import info_nce
from unmask.nn.precision import full

CARD = {
    "title": "PixContrast (pixel-level contrast)",
    "paper": "Xie et al., CVPR 2021, arXiv 2011.10043, section 3.1",
    "task": "two crops of an image and their boxes -> maps in which each place knows its own",
    "licence": "Apache-2.0",
    "verified": "positive pairs against a brute-force search, loss by loops; from memory, the authors' code lacks it",
}


def pixel_contrast(anchor: Tensor, other: Tensor, positive: Tensor, temperature: float = 0.3) -> Tensor:
    """-log(sum of e^(cos/t) over positives / sum over all places of the other view), one direction.

    Mean over the anchors that have a positive, then over images; an image without one counts as 0.

    Args:
        anchor, other: (B, D, H, W), of any length.
        positive: (B, HW, HW), places of `anchor` by places of `other`.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, other = (F.normalize(full(x).flatten(2), dim=1) for x in (anchor, other))
        logits = anchor.transpose(1, 2) @ other / temperature
    each = info_nce(logits.flatten(0, 1), positive.flatten(0, 1), positives="set", reduction="none")
    return (each.view(positive.shape[:2]).sum(1) / positive.any(2).sum(1).clamp(min=1)).mean()


def pixcontrast_loss(
    x1: Tensor, x2: Tensor, target1: Tensor, target2: Tensor, positive: Tensor, temperature: float = 0.3
) -> Tensor:
    """Mean of both directions.

    Args:
        x1, x2: projected maps of the two views, (B, D, H, W).
        target1, target2: the momentum encoder's maps; no gradient flows to them.
        positive: (B, HW, HW), places of view 1 by places of view 2.
    """
    forth = pixel_contrast(x1, target2.detach(), positive, temperature)
    back = pixel_contrast(x2, target1.detach(), positive.transpose(1, 2), temperature)
    return (forth + back) / 2
