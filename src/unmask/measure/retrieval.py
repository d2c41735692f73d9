"""Retrieval between images and their captions: how often the right one is among the first k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.embeddings import unit
from unmask.measure.inputs import Longs


def ranks(similarity: ArrayLike, right: ArrayLike) -> Longs:
    """How many candidates come before the best right one, for each query: 0 = it is the first.

    A wrong candidate that is exactly as similar comes before it, so that a constant embedding finds nothing.

    Args:
        similarity: (Q, C).
        right: (Q, C) bool, one or several a row.
    Raises: UnmaskError for queries without a right candidate.
    """
    s, r = np.asarray(similarity, np.float64), np.asarray(right, bool)
    if s.shape != r.shape or s.ndim != 2:
        raise InputError(f"similarities {s.shape} and right answers {r.shape} must be the same (Q, C)")
    if not r.any(1).all():
        raise InputError(f"{int((~r.any(1)).sum())} queries have no right candidate: leave them out")
    best = np.where(r, s, -np.inf).max(1, keepdims=True)
    found: Longs = ((s >= best) & ~r).sum(1)
    return found


def recall(image: ArrayLike, text: ArrayLike, owner: ArrayLike, at: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """R@k of both directions, by cosine: any of an image's captions is a hit, a caption has one image.

    Args:
        image: (N, D); text: (M, D), of any lengths.
        owner: (M,) index of each caption's image.
    Returns: image_to_text_r1 ... and text_to_image_r1 ..., 0..1.
    Raises: UnmaskError for images without a caption.
    """
    x, y, of = unit(image), unit(text), np.asarray(owner)
    right = of[None] == np.arange(len(x))[:, None]  # (N, M)
    similarity = x @ y.T
    there, back = ranks(similarity, right), ranks(similarity.T, right.T)
    forth = {f"image_to_text_r{k}": float((there < k).mean()) for k in at}
    return forth | {f"text_to_image_r{k}": float((back < k).mean()) for k in at}
