"""What embeddings hold, and whether they have collapsed: probes, pairs and health numbers. Arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Float64s, Longs, codes, same_length


def knn_accuracy(bank: ArrayLike, bank_label: ArrayLike, query: ArrayLike, label: ArrayLike, k: int = 20) -> float:
    """Balanced accuracy of the k nearest by cosine, each with the weight exp(cos / 0.07) (Wu et al., CVPR 2018).

    Args:
        bank, query: (M, D), (N, D) of any length; fewer than k rows in the bank: all of them vote.
        bank_label, label: classes of any kind.
    """
    (known, asked), classes = _labels(bank_label, label)
    x, z = unit(bank), unit(query)
    cosine = z @ x.T
    near = np.argpartition(-cosine, min(k, len(x)) - 1, axis=1)[:, :k]
    weight = np.exp(np.take_along_axis(cosine, near, 1) / 0.07)
    votes = np.zeros((len(z), classes))
    np.add.at(votes, (np.arange(len(z))[:, None], known[near]), weight)
    return balanced_accuracy(asked, votes.argmax(1))


def linear_accuracy(bank: ArrayLike, bank_label: ArrayLike, query: ArrayLike, label: ArrayLike) -> float:
    """Balanced accuracy of a logistic regression on the bank's standardised embeddings, C = 1."""
    from sklearn.linear_model import LogisticRegression

    (known, asked), _ = _labels(bank_label, label)
    x, z = np.asarray(bank, np.float64), np.asarray(query, np.float64)
    mean, scale = x.mean(0), x.std(0) + 1e-8
    fitted = LogisticRegression(max_iter=1000).fit((x - mean) / scale, known)
    return balanced_accuracy(asked, fitted.predict((z - mean) / scale))


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean over the true classes of the share that is recognised: 1 / K for a constant answer."""
    a, b = np.asarray(truth), np.asarray(predicted)
    same_length(truth=a, predicted=b)
    return float(np.mean([(b[a == k] == k).mean() for k in np.unique(a)]))


def effective_rank(z: ArrayLike) -> float:
    """exp of the entropy of the singular values' shares of centred embeddings (Roy and Vetterli, EUSIPCO 2007).

    From 1, one direction, to D; 0 where all embeddings are the same.
    """
    x = np.asarray(z, np.float64)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)
    if values.sum() < 1e-12 * max(1.0, float(np.abs(x).sum())):
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def uniformity(z: ArrayLike, t: float = 2.0) -> float:
    """log of the mean over pairs i < j of exp(-t |z_i - z_j|^2), of unit vectors (Wang and Isola, ICML 2020).

    0 where all are the same; lower is more uniform.
    """
    x = unit(z)
    first, second = np.triu_indices(len(x), 1)
    square = 2 - 2 * (x @ x.T)[first, second]
    return float(np.log(np.exp(-t * square).mean()))


def health(z: ArrayLike) -> dict[str, float]:
    """Whether embeddings (N, D) have collapsed: uniformity of 2,000 at most, effective_rank, and spread.

    `spread` is the mean deviation of a dimension of unit embeddings, times sqrt(D): 1 = even, 0 = one point.
    """
    x = np.asarray(z, np.float64)
    spread = float(unit(x).std(0).mean() * x.shape[1] ** 0.5)
    return {"uniformity": uniformity(x[:2000]), "effective_rank": effective_rank(x), "spread": spread}


def alignment(one: ArrayLike, other: ArrayLike) -> float:
    """Mean squared distance of unit embeddings of two views of the same images, 0..4 (Wang and Isola, ICML 2020)."""
    return float(np.square(unit(one) - unit(other)).sum(1).mean())


def centroid_distance(one: ArrayLike, other: ArrayLike) -> float:
    """||mean of one - mean of other|| of unit embeddings: how far two modalities lie apart, 0..2.

    All at one point is 0 too, so look at uniformity and `separability` beside it (arXiv 2405.18570).
    """
    return float(np.linalg.norm(unit(one).mean(0) - unit(other).mean(0)))


def separability(one: ArrayLike, other: ArrayLike, seed: int = 0) -> float:
    """Accuracy of a logistic regression (C = 1) that tells two modalities apart, on rows that it did not see.

    Four fifths of the pairs teach it, a fifth is asked about, both embeddings of a pair on one side. 0.5 = no gap.

    Args:
        one, other: (N, D) of the same N pairs. Compare only at one N and one D.
    """
    from sklearn.linear_model import LogisticRegression

    a, b = unit(one), unit(other)
    same_length(one=a, other=b)
    order = np.random.default_rng(seed).permutation(len(a))
    first, last = np.split(order, [len(a) * 4 // 5])
    fitted = LogisticRegression(max_iter=1000).fit(np.r_[a[first], b[first]], np.repeat([0, 1], len(first)))
    return float(fitted.score(np.r_[a[last], b[last]], np.repeat([0, 1], len(last))))


def pairs(label: ArrayLike, most: int = 5000, seed: int = 0) -> tuple[Longs, Longs]:
    """Pairs i < j: of one class up to `most`, and as many of two; drawn by the seed where there are more.

    Returns: (P,) and (P,) indices; first those of one class.
    Raises: UnmaskError without pairs of both kinds.
    """
    y, _ = codes(label)
    first, second = np.triu_indices(len(y), 1)
    same = y[first] == y[second]
    if same.all() or not same.any():
        raise InputError("verification needs pairs of one class and of two")
    rng = np.random.default_rng(seed)
    count = min(most, int(same.sum()), int((~same).sum()))
    chosen = np.concatenate([rng.permutation(np.flatnonzero(kind))[:count] for kind in (same, ~same)])
    return first[chosen], second[chosen]


def unit(z: ArrayLike) -> Float64s:
    """Rows of length 1; a row of zeros stays."""
    x = np.asarray(z, np.float64)
    found: Float64s = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return found


def _labels(*labels: ArrayLike) -> tuple[list[Longs], int]:
    parts = [np.asarray(label) for label in labels]
    together, count = codes(np.concatenate(parts))
    return np.split(together, np.cumsum([len(p) for p in parts])[:-1]), count
