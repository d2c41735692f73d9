"""How alike the sources of patches are, by masks of what was forged."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def consistency(mask: Tensor, side: int) -> Tensor:
    """For each two patches 1 - |m - m'|, m the mean of the mask in a patch: (B, S, S) -> (B, side^2, side^2).

    NaN of an unknown mask stays NaN.
    """
    share = F.adaptive_avg_pool2d(mask[:, None], side).flatten(1)
    return 1 - (share[:, :, None] - share[:, None]).abs()
