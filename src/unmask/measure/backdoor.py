"""Traces that poisoning leaves in features: arrays in, scores out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError

Float64s = NDArray[np.float64]


def spectral_signature(features: ArrayLike, label: ArrayLike) -> Float64s:
    """(N, D), (N,) -> (N,): how far each row lies along the direction in which its class spreads most, squared.

    Poisoned rows of a class share what the others lack, and that becomes its leading direction. The paper removes the
    1.5 expected shares of poison with the highest scores. Tran, Li and Madry, "Spectral Signatures in Backdoor
    Attacks", NeurIPS 2018, arXiv 1811.00636.
    """
    f, y = _checked(features, label)
    found = np.zeros(len(f))
    for kind in np.unique(y):
        of = y == kind
        centred = f[of] - f[of].mean(0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        found[of] = (centred @ directions[0]) ** 2
    return found


def activation_clusters(features: ArrayLike, label: ArrayLike, seed: int = 0) -> tuple[NDArray[np.bool_], Float64s]:
    """Per row: is it in the smaller of its class's two clusters, (N,); and the silhouette of that class, (N,).

    Two means on ten principal components; a poisoned class splits into two compact parts of unequal size, so that its
    silhouette (-1..1) is high. Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation
    Clustering", 2018, arXiv 1811.03728, with principal instead of independent components.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    f, y = _checked(features, label)
    smaller, compact = np.zeros(len(f), bool), np.zeros(len(f))
    for kind in np.unique(y):
        of = np.flatnonzero(y == kind)
        if len(of) < 3 or np.ptp(f[of], 0).max() == 0:
            continue
        reduced = PCA(min(10, len(of) - 1, f.shape[1]), random_state=seed).fit_transform(f[of])
        side = KMeans(2, n_init=10, random_state=seed).fit_predict(reduced)
        smaller[of] = side == int(np.bincount(side, minlength=2).argmin())
        compact[of] = silhouette_score(reduced, side)
    return smaller, compact


def anomaly_index(norms: ArrayLike) -> Float64s:
    """(K,) sizes of the triggers found for each class -> (K,): how far below the median, in 1.4826 MAD; 0 above it.

    Above 2 a class is suspected. Wang et al., "Neural Cleanse", IEEE S&P 2019. With two classes it says nothing: both
    lie equally far from their median, so at least three are needed.
    """
    found = np.asarray(norms, np.float64)
    if found.ndim != 1 or len(found) < 3:
        raise InputError("an outlier among fewer than three classes cannot be told: compare with a clean model instead")
    gap = np.median(found) - found
    spread = 1.4826 * np.median(np.abs(gap))
    return np.maximum(gap, 0) / spread if spread else np.where(gap > 0, np.inf, 0.0)


def _checked(features: ArrayLike, label: ArrayLike) -> tuple[Float64s, NDArray[np.int64]]:
    f, y = np.asarray(features, np.float64), np.asarray(label, np.int64)
    if f.ndim != 2 or len(f) != len(y) or not np.isfinite(f).all():
        raise InputError(f"features are finite (N, D) with N labels, not {f.shape} and {y.shape}")
    return f, y
