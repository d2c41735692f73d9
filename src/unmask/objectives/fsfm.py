"""FSFM: a plain ViT learns faces by filling in hidden regions of real ones.

The idea in three sentences. A mask hides one facial region wholly and of each other region its proportional share
(CRFR-P), so that what is hidden can be told from the region's own rest, and from the other regions, but not from
nearby pixels of the same part. An online encoder sees the rest, and a decoder paints the hidden patches. A momentum
encoder sees the whole face, and the online one's summary of the masked face must predict its summary: the mask then
also teaches what face it is.

Wang et al.: "FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial Representation Learning",
CVPR 2025, arXiv 2412.12032. Regions are the authors' groups of FACER's classes (`unmask.data.parsing`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.data.parsing import CLASSES
from unmask.nn.patches import patches
from unmask.nn.predictive import negative_cosine
from unmask.types import UnmaskError

GROUPS: dict[str, tuple[str, ...]] = {  # in the order in which they take their patches
    "brows": ("right brow", "left brow"),
    "eyes": ("right eye", "left eye"),
    "nose": ("nose",),
    "mouth": ("upper lip", "inner mouth", "lower lip"),
    "boundary": (),  # patches with skin and with hair or background
    "hair": ("hair",),
    "skin": ("skin",),
    "background": ("background",),
}
COVERABLE = ("brows", "eyes", "nose", "mouth", "boundary", "hair")


def patch_regions(parsing: Tensor, patch: int) -> Tensor:
    """Which groups each patch has a pixel of.

    Args:
        parsing: (B, S, S), indices into `unmask.data.parsing.CLASSES`.
    Returns: bool (B, 8, N), groups in the order of `GROUPS`.
    """
    each = parsing[:, None] == torch.arange(len(CLASSES), device=parsing.device).view(-1, 1, 1)
    has = dict(zip(CLASSES, patches(each, patch).flatten(3).any(3).unbind(2), strict=True))
    boundary = has["skin"] & (has["hair"] | has["background"])
    groups = [torch.stack([has[c] for c in classes]).any(0) if classes else boundary for classes in GROUPS.values()]
    return torch.stack(groups, 1)


def crfr_p(
    regions: Tensor, covered: int, ratio: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Cover one region, and mask the others in proportion (CRFR-P).

    The covered region is masked wholly. What remains of the budget is rho = n / (N - covered patches) of the patches
    left; each other group, in their order, masks round(rho count) of its patches that no group before it took. Random
    patches outside the covered region make up for the rounding. A covered region above the budget keeps a random part.

    Args:
        regions: bool (B, G, N).
        covered: index of the group that is covered in all images of the batch.
        ratio: share of the patches that are masked; their number is int(ratio N).
        generator: of the CPU.
    Returns: bool (B, N), True = masked; bool (B, N), the masked patches of the covered region.
    Raises: UnmaskError for a ratio that masks no patch or all.
    """
    batch, _, count = regions.shape
    budget = int(ratio * count)
    if not 0 < budget < count:
        raise UnmaskError(
            f"a mask ratio of {ratio} masks {budget} of {count} patches: at least one must be, one must not"
        )
    region = regions[:, covered]
    taken, mask = region.clone(), region.clone()
    left = (count - region.sum(1)).clamp(min=1)
    rho = (budget - region.sum(1)).clamp(min=0) / left
    for other in (g for g in range(regions.shape[1]) if g != covered):
        open_ = regions[:, other] & ~taken
        mask |= open_ & (_rank(open_, generator) < (rho * open_.sum(1)).round()[:, None])
        taken |= open_
    # Exactly the budget: the covered region first, then what was masked in proportion, then any other patch.
    order = torch.rand(batch, count, generator=generator).to(regions.device) + mask + region
    mask = torch.zeros_like(mask).scatter(1, order.topk(budget).indices, True)
    return mask, mask & region


def _rank(among: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random order of the True places of each row, from 0; the others come after them."""
    score = torch.rand(among.shape, generator=generator).to(among.device) + ~among
    return score.argsort(1).argsort(1)


def reconstruction(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over masked patches of the squared error to each patch's normalised pixels, (x - mean) / sqrt(var + 1e-6).

    Args:
        predicted, target: (B, N, P), target in plain pixels; the variance is the unbiased one, as in MAE.
        mask: bool (B, N). Where it is empty the loss is 0.
    """
    mean, var = target.mean(2, keepdim=True), target.var(2, keepdim=True)
    error = (predicted - (target - mean) / (var + 1e-6).sqrt()).square().mean(2)
    return (error * mask).sum() / mask.sum().clamp(min=1)


def discrimination(predicted: Tensor, target: Tensor) -> Tensor:
    """-1/2 mean cosine, in -0.5..0.5; no gradient flows to `target`. Both (B, D), of any length."""
    return 0.5 * negative_cosine(predicted, target)
