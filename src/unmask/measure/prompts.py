"""How well an image's prompt can be predicted: by copying that of the nearest image, or by learning its keywords.

The trap is the split. Images of one prompt, one series of seeds or one user's session on both sides make copying look
like prediction: `folds` keeps all rows of a group together. A learned predictor that does not beat the copy on grouped
folds has not shown that it predicts anything; both stand beside prompts dealt at random (`shuffled`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.embeddings import unit
from unmask.measure.inputs import Float64s, Longs, codes, same_length

_LORA = re.compile(r"<[^<>]*>")  # "<lora:name:0.8>"
_WEIGHT = re.compile(r"[(\[{]([^()\[\]{}:]+)(?::[\d.]+)?[)\]}]")  # "(word:1.2)", "((word))", "[word]"
_NEGATIVE = re.compile(r"negative prompt:.*", re.IGNORECASE | re.DOTALL)


def normalised(prompt: str) -> str:
    """Lower case, without the negative prompt, LoRA tags and weights: "(Cat:1.2), <lora:x:1>" -> "cat"."""
    text = _LORA.sub(" ", _NEGATIVE.sub(" ", prompt.lower()))
    while (plain := _WEIGHT.sub(r"\1", text)) != text:
        text = plain
    return ", ".join(part for part in (" ".join(p.split()) for p in re.split(r"[,\n|]+", text)) if part)


def keywords(prompt: str) -> frozenset[str]:
    """Tags between commas; of a prompt without commas its words of three letters or more."""
    parts = normalised(prompt).split(", ")
    if len(parts) > 1:
        return frozenset(parts)
    return frozenset(word for word in re.findall(r"[a-z0-9]+", parts[0]) if len(word) > 2)


def keyword_f1(truth: Sequence[frozenset[str]], predicted: Sequence[frozenset[str]]) -> Float64s:
    """(N,) 2 |A and B| / (|A| + |B|) of each prompt; 1 where both are empty."""
    if len(truth) != len(predicted):
        raise InputError(f"{len(truth)} prompts, {len(predicted)} predictions: give one for each")
    sizes = [len(a) + len(b) for a, b in zip(truth, predicted, strict=True)]
    both = [len(a & b) for a, b in zip(truth, predicted, strict=True)]
    return np.array([2 * n / size if size else 1.0 for n, size in zip(both, sizes, strict=True)], np.float64)


def folds(group: ArrayLike, count: int, seed: int = 0) -> Longs:
    """(N,) fold of each row; rows of a group share one. With a group for each row: a random split."""
    code, groups = codes(group)
    if groups < count:
        raise InputError(f"{groups} groups cannot be dealt to {count} folds")
    dealt = np.random.default_rng(seed).permutation(groups) % count
    return np.asarray(dealt[code], np.int64)


def copied(bank: ArrayLike, prompts: Sequence[frozenset[str]], query: ArrayLike) -> list[frozenset[str]]:
    """The retrieval baseline: of each query (N, D) the keywords of its nearest row of the bank (M, D), by cosine."""
    near = (unit(query) @ unit(bank).T).argmax(1)
    return [prompts[i] for i in near.tolist()]


def learned(
    bank: ArrayLike, prompts: Sequence[frozenset[str]], query: ArrayLike, words: int = 200, ridge: float = 10.0
) -> list[frozenset[str]]:
    """The learned predictor: a ridge regression from standardised features to the commonest keywords.

    As many are predicted as a prompt of the bank has on average, the likeliest first.

    Args:
        words: keywords that can be predicted. ridge: of the regression, in features' variances.
    """
    counted = Counter(word for prompt in prompts for word in prompt)
    known = [word for word, n in counted.most_common(words) if n > 1]
    x, z = np.asarray(bank, np.float64), np.asarray(query, np.float64)
    if not known:
        return [frozenset()] * len(z)
    mean, scale = x.mean(0), x.std(0) + 1e-8
    x, z = (x - mean) / scale, (z - mean) / scale
    target = np.array([[word in prompt for word in known] for prompt in prompts], np.float64)
    base = target.mean(0)
    gram = x @ x.T + ridge * x.shape[1] / len(x) * np.eye(len(x))
    score = base + z @ (x.T @ np.linalg.solve(gram, target - base))
    size = max(1, round(float(np.mean([len(p) for p in prompts]))))
    top = np.argsort(-score, axis=1, kind="stable")[:, :size]
    return [frozenset(known[i] for i in row) for row in top.tolist()]


@dataclass(frozen=True)
class Predicted:
    """(N,) keyword F1 of each image: by the copy, the learned predictor, and another prompt at random."""

    copied: Float64s
    learned: Float64s
    shuffled: Float64s


def predicted(
    features: ArrayLike, prompts: Sequence[str], fold: NDArray[np.integer], seed: int = 0, words: int = 200
) -> Predicted:
    """Each fold is predicted from the others.

    Args:
        features: (N, D). prompts: N texts. fold: (N,), see `folds`.
    """
    x, tags = np.asarray(features, np.float64), [keywords(p) for p in prompts]
    same_length(feature=x, fold=fold, prompt=np.zeros(len(tags)))
    rng = np.random.default_rng(seed)
    found = Predicted(*(np.zeros(len(tags)) for _ in range(3)))
    for k in np.unique(fold):
        bank, query = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        held, true = [tags[i] for i in bank], [tags[i] for i in query]
        found.copied[query] = keyword_f1(true, copied(x[bank], held, x[query]))
        found.learned[query] = keyword_f1(true, learned(x[bank], held, x[query], words))
        found.shuffled[query] = keyword_f1(true, [held[i] for i in rng.integers(len(held), size=len(query))])
    return found
