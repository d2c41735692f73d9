"""Changes of a sentence for training: stop words out, words swapped, deleted or replaced. Each may change its meaning.

    change = build(({"stop_words": {"p": 0.8}}, {"eda": {}}))
    change("a photo of the red car", numpy.random.default_rng(0))

A change that leaves nothing gives back what it was given. `docs/tables/text-augmentation.md` counts how often each one
turns a sentence's meaning round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unmask.errors import RecipeError
from unmask.registry import checked, nearest

Rng = np.random.Generator
Words = list[str]
Change = Callable[[str, Rng], str]

# None of them denies, counts or compares: "not" and "no" are kept.
STOP_WORDS = frozenset([
    "a", "an", "the", "this", "that", "these", "those", "of", "in", "on", "at", "by", "for", "with", "from", "to",
    "into", "and", "or", "is", "are", "was", "were", "be", "been", "being", "it", "its", "there", "here", "as", "some",
])  # fmt: skip
SYNONYMS = (
    ("picture", "photo", "image", "photograph"), ("man", "guy"), ("woman", "lady"), ("child", "kid"), ("dog", "puppy"),
    ("cat", "kitten"), ("car", "automobile"), ("big", "large"), ("small", "little", "tiny"), ("fast", "quick"),
    ("road", "street"), ("house", "home"), ("boat", "ship"), ("rock", "stone"), ("woods", "forest"),
    ("happy", "glad"), ("talking", "speaking"), ("looking", "gazing"), ("running", "racing"), ("jumping", "leaping"),
    ("sitting", "seated"), ("near", "beside"), ("circle", "disc"), ("centre", "middle"), ("fake", "forged"),
    ("blurry", "blurred"), ("skin", "complexion"), ("mouth", "lips"), ("border", "edge", "boundary"),
)  # fmt: skip
_OTHERS = {word: [w for w in group if w != word] for group in SYNONYMS for word in group}


@dataclass(frozen=True)
class StopWords:
    """Leave stop words out, each with the chance `p`."""

    p: float = 0.8

    def __call__(self, words: Words, rng: Rng) -> Words:
        return [w for w in words if w.lower() not in STOP_WORDS or rng.random() >= self.p]


@dataclass(frozen=True)
class Delete:
    """Leave words out, each with the chance `p`."""

    p: float = 0.1

    def __call__(self, words: Words, rng: Rng) -> Words:
        return [w for w in words if rng.random() >= self.p]


@dataclass(frozen=True)
class Swap:
    """Swap two words, `times` over."""

    times: int = 1

    def __call__(self, words: Words, rng: Rng) -> Words:
        found = list(words)
        for _ in range(self.times if len(found) > 1 else 0):
            i, j = rng.choice(len(found), 2, replace=False)
            found[i], found[j] = found[j], found[i]
        return found


@dataclass(frozen=True)
class Synonym:
    """Replace up to `times` words by another of their group in `SYNONYMS`."""

    times: int = 1

    def __call__(self, words: Words, rng: Rng) -> Words:
        found = list(words)
        known = [i for i, w in enumerate(found) if w.lower() in _OTHERS]
        for i in rng.permutation(len(known))[: self.times]:
            choice = _OTHERS[found[known[i]].lower()]
            found[known[i]] = choice[rng.integers(len(choice))]
        return found


@dataclass(frozen=True)
class Span:
    """Keep a run of words of a random share between `least` and 1 of the sentence."""

    least: float = 0.5

    def __call__(self, words: Words, rng: Rng) -> Words:
        length = max(1, round(len(words) * rng.uniform(self.least, 1)))
        start = int(rng.integers(len(words) - length + 1))
        return words[start : start + length]


@dataclass(frozen=True)
class Eda:
    """Exactly one of synonym, swap and deletion, drawn by these weights (EDA; the weights are clip-rocket's).

    Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification", EMNLP 2019.
    """

    synonym: float = 0.4
    swap: float = 0.4
    delete: float = 0.2

    def __call__(self, words: Words, rng: Rng) -> Words:
        weight = np.array([self.synonym, self.swap, self.delete])
        kinds: tuple[Callable[[Words, Rng], Words], ...] = (Synonym(), Swap(), Delete())
        return kinds[int(rng.choice(3, p=weight / weight.sum()))](words, rng)


STEPS: dict[str, type] = {
    "stop_words": StopWords, "delete": Delete, "swap": Swap, "synonym": Synonym, "span": Span, "eda": Eda,
}  # fmt: skip


def build(steps: Sequence[Mapping[str, Mapping[str, Any] | None]]) -> Change:
    """Steps one after the other, on words between spaces.

    Raises: UnmaskError for an unknown step or option.
    """
    made: list[Callable[[Words, Rng], Words]] = []
    for step in steps:
        for name, options in step.items():
            if name not in STEPS:
                raise RecipeError(f"no change of a sentence {name!r}; {nearest(name, STEPS)}")
            made.append(STEPS[name](**checked(name, STEPS[name], dict(options or {}))))

    def change(text: str, rng: Rng) -> str:
        words = text.split()
        for one in made:
            words = one(words, rng) or words if words else words
        return " ".join(words)

    return change
