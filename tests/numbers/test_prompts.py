"""Prompts: what is normalised, F1 by hand, folds that keep groups together, and a copy that a random split flatters."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.errors import InputError
from unmask.measure.prompts import copied, folds, keyword_f1, keywords, learned, normalised, predicted


def test_prompts_are_normalised() -> None:
    said = "((Cat:1.2)), [Oil Painting], <lora:style:0.8>\nNegative prompt: dog"
    assert normalised(said) == "cat, oil painting"
    assert keywords(said) == {"cat", "oil painting"}
    assert keywords("a Panda riding 2 bicycles") == {"panda", "riding", "bicycles"}


def test_f1_by_hand() -> None:
    # 1 of 2 and 3 words: 2 / 5. Nothing in common: 0. Both empty: 1.
    true = [frozenset("ab"), frozenset("a"), frozenset()]
    said = [frozenset("bcd"), frozenset("z"), frozenset()]
    assert keyword_f1(true, said).tolist() == [0.4, 0.0, 1.0]
    with pytest.raises(InputError, match="one for each"):
        keyword_f1(true, said[:2])


def test_groups_stay_together() -> None:
    group = np.repeat(np.arange(10), 4)
    dealt = folds(group, 5)
    assert all(len(set(dealt[group == g])) == 1 for g in range(10))
    assert np.bincount(dealt).tolist() == [8] * 5
    with pytest.raises(InputError, match="cannot be dealt"):
        folds(group, 11)


def test_copy_and_regression() -> None:
    bank = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    held = [
        frozenset({"cat", "red"}),
        frozenset({"cat", "blue"}),
        frozenset({"dog", "red"}),
        frozenset({"dog", "blue"}),
    ]
    assert copied(bank, held, np.array([[2.0, 0.0]])) == [held[0]]
    (said,) = learned(bank, held, np.array([[1.0, 0.0]]), ridge=0.01)
    assert "cat" in said
    assert "dog" not in said


def test_a_random_split_flatters_the_copy() -> None:
    """Twenty prompts, four nearly equal images of each: copied from a twin, or from nobody like it."""
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(20), 4)
    features = rng.normal(size=(20, 16))[prompt] + 0.01 * rng.normal(size=(80, 16))
    texts = [f"thing{p}, style{p % 3}" for p in prompt]
    apart = predicted(features, texts, folds(prompt, 5))
    mixed = predicted(features, texts, folds(np.arange(80), 5))
    assert mixed.copied.mean() > 0.95
    assert apart.copied.mean() < 0.4
    assert apart.shuffled.mean() < 0.4
