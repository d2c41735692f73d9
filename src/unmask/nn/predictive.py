"""Losses without negatives: predict one view's embedding from another's, and stop the gradient of what is predicted."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from unmask.nn.precision import full


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """-mean over rows of cos(prediction, target), where the target has no gradient (SimSiam, CVPR 2021, eq. 1 and 2).

    Args:
        prediction, target: (N, D), of any lengths.
    Returns: in -1..1; 2 + 2 times it is BYOL's ||p / |p| - z / |z| ||^2 (NeurIPS 2020, eq. 2).
    """
    return -F.cosine_similarity(full(prediction), full(target.detach()), dim=1).mean()
