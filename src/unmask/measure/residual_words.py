"""Residual words: what an image-text encoder says separates real from fake, read as words, with a permutation null.

The idea in three sentences. In the space of CLIP the difference of the mean embeddings of two sets of images is a
direction. Words whose text embeddings lie along it name what the sets differ in: the forgery, or a bias of the data
set. Directions between random halves also resemble some word, so a word counts only if it beats the best word of
hundreds of random halves.

Gaintseva et al., "RAVE: Residual Vector Embedding for CLIP-Guided Backlit Image Enhancement", ECCV 2024,
arXiv 2404.01889 (the residual and its reading), after Liang et al., CLIP-LIT, ICCV 2023, arXiv 2303.17569. The paper
has no null. It is a measure of a data set and not of a crop, so it lives here and not among the explainers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Bools, Float64s, labels, same_length
from unmask.measure.metrics import auroc


@dataclass(frozen=True)
class Word:
    """`score`: cosine of the centred text embedding with the residual; > 0 = towards fake. `p`: family-wise."""

    word: str
    score: float
    p: float


@dataclass(frozen=True)
class ResidualWords:
    """
    Attributes:
        words: those with p <= the level, the strongest first; none = no interpretable direction.
        all: every word, the strongest first.
        separation: AUROC of held-out images along the residual of the others; `separation_p` against permuted labels.
    """

    words: tuple[Word, ...]
    all: tuple[Word, ...]
    separation: float
    separation_p: float
    permutations: int

    def __str__(self) -> str:
        if not self.words:
            return f"no interpretable direction: no word of {len(self.all)} beats {self.permutations} permutations"
        return ", ".join(f"{w.word} ({'fake' if w.score > 0 else 'real'}, {w.score:+.2f})" for w in self.words)


def residual(real: ArrayLike, fake: ArrayLike) -> Float64s:
    """unit(unit(mean of unit fakes) - unit(mean of unit reals)), (D,), of embeddings (N, D) and (M, D)."""
    means = [unit(unit(np.asarray(x, np.float64)).mean(0)) for x in (real, fake)]
    return unit(means[1] - means[0])


def word_scores(direction: Float64s, texts: ArrayLike) -> Float64s:
    """(V,) cosines with a direction (D,) of text embeddings (V, D), their common mean taken off.

    Without that, all words lie in one narrow cone, far from every image (the modality gap).
    """
    t = unit(np.asarray(texts, np.float64))
    return np.asarray(unit(t - t.mean(0)) @ direction, np.float64)


def without(embeddings: ArrayLike, direction: Float64s) -> Float64s:
    """Embeddings (N, D) without what lies along a unit direction: how a bias that was named is taken out."""
    x = np.asarray(embeddings, np.float64)
    return np.asarray(x - np.outer(x @ direction, direction), np.float64)


def residual_words(
    embeddings: ArrayLike,
    label: ArrayLike,
    groups: ArrayLike,
    texts: ArrayLike,
    words: Sequence[str],
    *,
    permutations: int = 200,
    level: float = 0.05,
    seed: int = 0,
) -> ResidualWords:
    """
    Args:
        embeddings: (N, D) of images; `label` (N,), 1 = fake; `groups` (N,), what hangs together (a video, a person).
        texts: (V, D) of `words`, of the same encoder.
        level: family-wise: with this probability at most any word is named where the sets do not differ.
    Raises: UnmaskError for arrays that do not fit each other, and for fewer than four groups.
    """
    x, y, of = unit(np.asarray(embeddings, np.float64)), labels(label), np.asarray(groups).astype(str)
    same_length(embedding=x, label=y, group=of)
    if len(words) != len(np.asarray(texts)) or np.asarray(texts).ndim != 2 or np.asarray(texts).shape[1] != x.shape[1]:
        raise InputError(f"{len(words)} words and texts {np.asarray(texts).shape} do not fit embeddings {x.shape}")
    if len(np.unique(of)) < 4 or y.all() or not y.any():
        raise InputError("residual words need both classes and four groups or more, to deal them into halves")
    rng = np.random.default_rng(seed)
    scores, separation = word_scores(residual(x[~y], x[y]), texts), held_out(x, y, of, rng)
    strongest, separations = [], []
    for _ in range(permutations):
        dealt = permuted(y, of, rng)
        strongest.append(np.abs(word_scores(residual(x[~dealt], x[dealt]), texts)).max())
        separations.append(held_out(x, dealt, of, rng))
    beaten = (np.array(strongest)[None] >= np.abs(scores)[:, None]).sum(1)
    p = (beaten + 1) / (permutations + 1)
    found = [Word(words[i], float(scores[i]), float(p[i])) for i in np.argsort(-np.abs(scores))]
    return ResidualWords(
        tuple(w for w in found if w.p <= level),
        tuple(found),
        separation,
        float((np.sum(np.array(separations) >= separation) + 1) / (permutations + 1)),
        permutations,
    )


def held_out(
    x: Float64s, y: Bools, groups: np.ndarray[tuple[int, ...], np.dtype[np.str_]], rng: np.random.Generator
) -> float:
    """AUROC of one half of the groups along the residual of the other; 1/2 where a half lacks a class."""
    names = rng.permutation(np.unique(groups))
    first = np.isin(groups, names[: len(names) // 2])
    if any(y[part].all() or not y[part].any() for part in (first, ~first)):
        return 0.5
    direction = residual(x[first & ~y], x[first & y])
    return auroc(y[~first], x[~first] @ direction)


def permuted(y: Bools, groups: np.ndarray[tuple[int, ...], np.dtype[np.str_]], rng: np.random.Generator) -> Bools:
    """Labels under the null. Where every group has one label, groups swap theirs; else labels change within groups."""
    names, of = np.unique(groups, return_inverse=True)
    share = np.bincount(of, y) / np.bincount(of)
    if ((share == 0) | (share == 1)).all():
        return np.asarray(rng.permutation(share == 1)[of], bool)
    out = y.copy()
    for k in range(len(names)):
        out[of == k] = rng.permutation(out[of == k])
    return np.asarray(out, bool)


def unit(x: Float64s) -> Float64s:
    """Rows (or one vector) of length 1."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12), np.float64)
