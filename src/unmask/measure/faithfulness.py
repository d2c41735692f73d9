"""How much an explanation says: maps against the masks of forgeries, and against the detector itself.

Two questions, and a map can pass one and fail the other. *Localisation* asks whether the map points at what was forged:
pointing game, relevance mass, relevance rank. *Faithfulness* asks whether it points at what the detector used: areas
under deletion and insertion, infidelity. A map that stays the same when the weights are random
(`rank_correlation` of both) shows the image and not the detector.

Maps are (H, W), >= 0, higher = more evidence; masks (H, W), 0/1. Arrays in, numbers out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.inputs import Bools, Float64s


def pointing_game(mask: ArrayLike, heat: ArrayLike, tolerance: int = 0) -> float:
    """1 if the map's largest value lies in the mask, 0 if not; ties count by their share (Zhang et al., ECCV 2016).

    Args:
        tolerance: pixels by which a hit may miss; the paper's is 15 at its sizes.
    """
    m, h = _pair(mask, heat)
    if tolerance:
        rows, columns = np.nonzero(m)
        y, x = np.indices(m.shape)
        near = np.zeros_like(m)
        for row, column in zip(rows, columns, strict=True):
            near |= (y - row) ** 2 + (x - column) ** 2 <= tolerance**2
        m = near
    return float(m[h == h.max()].mean())


def relevance_mass(mask: ArrayLike, heat: ArrayLike) -> float:
    """Share of the map's sum that lies in the mask; its area's share where the map is empty (Arras et al., 2022)."""
    m, h = _pair(mask, heat)
    total = h.sum()
    return float(h[m].sum() / total) if total > 0 else float(m.mean())


def relevance_rank(mask: ArrayLike, heat: ArrayLike) -> float:
    """Share of the K highest pixels that lie in the mask of K pixels (Arras et al., 2022); ties by their share."""
    m, h = _pair(mask, heat)
    count = int(m.sum())
    border = np.sort(h, axis=None)[-count]
    sure, tied = h > border, h == border
    return float((m[sure].sum() + (count - sure.sum()) * m[tied].mean()) / count)


def order(heat: ArrayLike, seed: int = 0) -> NDArray[np.int64]:
    """Pixels (H W,) from the most to the least relevant; ties, and an empty map, in random order."""
    flat = np.asarray(heat, np.float64).ravel()
    shuffled = np.random.default_rng(seed).permutation(flat.size)
    return np.asarray(shuffled[np.argsort(-flat[shuffled], kind="stable")], np.int64)


def area(curve: ArrayLike) -> float:
    """Mean of a curve of scores (steps,) at equal distances, by trapezia: under deletion low is good, insertion high.

    Petsiuk et al., "RISE", BMVC 2018.
    """
    c = np.asarray(curve, np.float64)
    if c.ndim != 1 or len(c) < 2:
        raise InputError(f"a curve is one row of two or more scores, not of shape {c.shape}")
    return float(np.trapezoid(c) / (len(c) - 1))


def infidelity(predicted: ArrayLike, change: ArrayLike) -> float:
    """E[(b p - c)^2] / E[c^2] at the best factor b: 0 = the map foretells every change, 1 = it foretells nothing.

    Args:
        predicted: (N,) what the map says that a perturbation takes away: its sum over the pixels that were hidden.
        change: (N,) by how much the score fell.
    Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, with the optimal scaling of its
    section 2; divided by E[c^2], so that detectors compare. Maps >= 0 have no unit, hence b >= 0.
    """
    p, c = np.asarray(predicted, np.float64), np.asarray(change, np.float64)
    if p.shape != c.shape or p.ndim != 1 or not len(p):
        raise InputError(f"predicted and observed changes must be rows of one length, not {p.shape} and {c.shape}")
    power = float((c**2).sum())
    if power == 0:
        return float("nan")  # nothing changed, so nothing could be foretold
    best = max(float(p @ c) / float(p @ p), 0.0) if float(p @ p) > 0 else 0.0
    return float(((best * p - c) ** 2).sum() / power)


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's correlation of two maps over their pixels; NaN where one of them is flat (Adebayo et al., 2018)."""
    a, b = np.asarray(one, np.float64).ravel(), np.asarray(other, np.float64).ravel()
    if a.shape != b.shape:
        raise InputError(f"the maps must have one size, not {a.shape} and {b.shape} pixels")
    ranks = [_ranks(v) for v in (a, b)]
    a, b = (r - r.mean() for r in ranks)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def centre_prior(side: int) -> Float64s:
    """(side, side): a Gaussian in the middle, deviation a quarter of the side. An explanation that does not beat it
    says no more than "faces are in the middle"."""
    at = (np.arange(side) + 0.5) / side - 0.5
    line = np.exp(-0.5 * (at / 0.25) ** 2)
    return np.outer(line, line)


def _ranks(values: Float64s) -> Float64s:
    """Ranks from 0, ties at their mean."""
    _, of, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count + 1) / 2)[of], np.float64)


def _pair(mask: ArrayLike, heat: ArrayLike) -> tuple[Bools, Float64s]:
    m, h = np.asarray(mask), np.asarray(heat, np.float64)
    if m.ndim != 2 or m.shape != h.shape:
        raise InputError(f"mask and map must both be (H, W), not {m.shape} and {h.shape}: resize the map first")
    m = m.astype(bool)
    if not m.any() or m.all():
        raise InputError("a mask must have pixels inside and outside: leave untouched and whole forgeries out")
    if not np.isfinite(h).all() or (h < 0).any():
        raise InputError("a map must be finite and >= 0")
    return m, h
