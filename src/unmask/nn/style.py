"""Statistics of maps as a style that can be given to another image."""

from __future__ import annotations

from torch import Tensor


def adain(content: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """Adaptive instance normalisation: each channel of the content with the style's mean and deviation over places.

    Huang and Belongie, ICCV 2017. Deviations are sqrt(unbiased variance + eps).

    Args:
        content, style: (B, C, h, w) with two places or more.
    """
    (mean, spread), (target, wide) = (
        (x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + eps).sqrt()) for x in (content, style)
    )
    return (content - mean) / spread * wide + target
