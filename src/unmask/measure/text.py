"""Explanations in words, measured: overlap with a reference, named artefacts, and objects that are not there.

Overlap rewards a template: print `constant` and shuffled baselines beside it, as `text_baselines` does. Matching named
artefacts (`artefact_f1`) tells a constant or swapped explanation from a true one even where overlap does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError

Words = Mapping[str, Sequence[str]]  # tag or object -> the words and phrases that name it
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
DENIALS = frozenset({"no", "not", "without", "none", "never", "neither", "nor", "free", "lacks", "absent"})
REACH = 4  # words before a name within which a denial counts


def rouge_l(predicted: str, reference: str) -> float:
    """F of the longest common subsequence of words: 2 P R / (P + R), P = LCS / predicted, R = LCS / reference.

    Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, with beta = 1; in lower case, no stemming.
    """
    a, b = _WORD.findall(predicted.lower()), _WORD.findall(reference.lower())
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b))


def embedding_similarity(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Mean cosine of sentence embeddings (N, D) twice: what papers call CSS. Say whose embeddings they are."""
    p, r = np.asarray(predicted, np.float64), np.asarray(reference, np.float64)
    if p.shape != r.shape or p.ndim != 2 or not len(p):
        raise InputError(f"embeddings must be (N, D) twice, not {p.shape} and {r.shape}")
    sizes = np.linalg.norm(p, axis=1) * np.linalg.norm(r, axis=1)
    return float(np.mean((p * r).sum(1) / np.maximum(sizes, 1e-12)))


def named(text: str, words: Words) -> frozenset[str]:
    """The tags that a text affirms: one of their words occurs, in the singular or plural, and is not denied.

    The longest phrase wins ("hot dog" is no dog), and a denial up to REACH words before, in the same clause, counts.
    """
    phrases = sorted(((_split(p), tag) for tag, some in words.items() for p in (tag, *some)), key=lambda x: -len(x[0]))
    found: set[str] = set()
    for clause in re.split(r"[.;:!?\n]|, but |\bbut\b", text.lower()):
        told = [_singular(w) for w in _WORD.findall(clause)]
        taken = [False] * len(told)
        for phrase, tag in phrases:
            for at in range(len(told) - len(phrase) + 1):
                here = slice(at, at + len(phrase))
                if told[here] == phrase and not any(taken[here]):
                    taken[here] = [True] * len(phrase)
                    if not DENIALS & set(told[max(0, at - REACH) : at]):
                        found.add(tag)
    return frozenset(found)


def artefact_f1(predicted: Sequence[Set[str]], reference: Sequence[Set[str]]) -> float:
    """2 TP / (named + true) over the artefacts of all images together; NaN where there are none on either side."""
    if len(predicted) != len(reference):
        raise InputError(f"{len(predicted)} explanations do not fit {len(reference)} references")
    hits = sum(len(p & r) for p, r in zip(predicted, reference, strict=True))
    total = sum(len(p) + len(r) for p, r in zip(predicted, reference, strict=True))
    return 2 * hits / total if total else float("nan")


@dataclass(frozen=True)
class Baselines:
    """A metric of texts, of one constant text, and of the texts dealt to other images."""

    value: float
    constant: float
    shuffled: float


def text_baselines(
    predicted: Sequence[str],
    reference: Sequence[str],
    metric: Callable[[Sequence[str], Sequence[str]], float],
    seed: int = 0,
) -> Baselines:
    """`constant`: the best that any single predicted text reaches if given to every image."""
    shuffled = np.random.default_rng(seed).permutation(len(predicted))
    constant = max(metric([text] * len(reference), reference) for text in set(predicted))
    return Baselines(metric(predicted, reference), constant, metric([predicted[i] for i in shuffled], reference))


# --- objects that are not there --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chair:
    """`instances`: hallucinated mentions / mentions; `sentences`: captions with at least one / captions; `recall`."""

    instances: float
    sentences: float
    recall: float


def chair(captions: Sequence[str], truth: Sequence[Set[str]], words: Words) -> Chair:
    """CHAIR of captions whose images show the objects `truth` (Rohrbach et al., EMNLP 2018); an object counts once."""
    if len(captions) != len(truth):
        raise InputError(f"{len(captions)} captions do not fit {len(truth)} images")
    told = [named(caption, words) for caption in captions]
    wrong = [t - set(real) for t, real in zip(told, truth, strict=True)]
    mentions, shown = sum(map(len, told)), sum(map(len, truth))
    seen = sum(len(t & set(real)) for t, real in zip(told, truth, strict=True))
    return Chair(
        sum(map(len, wrong)) / mentions if mentions else float("nan"),
        sum(map(bool, wrong)) / len(captions) if captions else float("nan"),
        seen / shown if shown else float("nan"),
    )


@dataclass(frozen=True)
class Pope:
    """Yes is the positive answer. `unparsed` replies count as wrong, and as neither yes nor no elsewhere."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes: float
    unparsed: int


def pope(replies: Sequence[str], truth: Sequence[bool]) -> Pope:
    """Polling-based Object Probing Evaluation (Li et al., EMNLP 2023): "is there a ... in the image?", yes or no."""
    if len(replies) != len(truth) or not replies:
        raise InputError(f"{len(replies)} replies do not fit {len(truth)} questions")
    said = [yes_or_no(reply) for reply in replies]
    both = list(zip(said, truth, strict=True))
    hits, yes, real = sum(s == "yes" and t for s, t in both), said.count("yes"), sum(truth)
    precision = hits / yes if yes else float("nan")
    recall = hits / real if real else float("nan")
    total = yes + real
    return Pope(
        sum((s == "yes") == t for s, t in both if s != "unparsed") / len(both),
        precision,
        recall,
        2 * hits / total if total else float("nan"),
        yes / len(both),
        said.count("unparsed"),
    )


def yes_or_no(reply: str) -> Literal["yes", "no", "unparsed"]:
    """By whole words of the first sentence: "know" is no "no". Both words, or neither, cannot be read."""
    told = set(_WORD.findall(re.split(r"[.!\n]", reply.strip().lower())[0]))
    yes, no = "yes" in told, bool(told & {"no", "not"}) or any(w.endswith("n't") for w in told)
    return "unparsed" if yes == no else "yes" if yes else "no"


def _split(phrase: str) -> list[str]:
    return [_singular(w) for w in _WORD.findall(phrase.lower())]


def _singular(word: str) -> str:
    """Good enough to match a list of names with itself: both sides go through it."""
    for end, instead in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("s", "")):
        if word.endswith(end) and len(word) > len(end) + 2 and not word.endswith(("ss", "us", "is")):
            return word[: -len(end)] + instead
    return word
