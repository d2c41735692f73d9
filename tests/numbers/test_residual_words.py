"""Residual words: by hand, with a planted bias, and where there is nothing to name."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.metrics import auroc
from unmask.measure.residual_words import residual, residual_words, unit, without, word_scores
from unmask.types import UnmaskError

WORDS = [f"word {i}" for i in range(20)]


def test_the_residual_of_two_sets_in_the_plane() -> None:
    # means (1, 0) and (0, 1): (-1, 1) / sqrt(2), whatever the lengths
    np.testing.assert_allclose(residual([[3.0, 0]], [[0, 5.0]]), np.array([-1, 1]) / np.sqrt(2))
    # centred texts (1, 0) and (0, 1) - (.5, .5) -> (1, -1) and (-1, 1), / sqrt(2): -1 and 1
    np.testing.assert_allclose(word_scores(np.array([-1, 1]) / np.sqrt(2), [[2.0, 0], [0, 2.0]]), [-1, 1])


def images(planted: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """120 embeddings in 30 groups of two classes; fakes lean by `planted` towards word 3."""
    rng = np.random.default_rng(seed)
    texts = unit(rng.standard_normal((20, 32)))
    label, group = np.tile([0, 1], 60), np.repeat(np.arange(30), 4)
    x = rng.standard_normal((120, 32)) + 2 * rng.standard_normal((30, 32))[group]
    return x + planted * np.outer(label, texts[3]), label, group, texts


def test_a_planted_bias_is_named_and_can_be_taken_out() -> None:
    x, label, group, texts = images(4.0)
    found = residual_words(x, label, group, texts, WORDS, permutations=100)
    assert [w.word for w in found.words] == ["word 3"]
    assert found.words[0].score > 0
    assert found.separation > 0.8
    assert found.separation_p < 0.05
    axis = unit(texts[3])
    assert auroc(label, x @ axis) > 0.85
    assert abs(without(x, axis) @ axis).max() < 1e-9


def test_sets_that_do_not_differ_name_nothing() -> None:
    """Of 20 pairs of equal sets at level 0.05 one is expected to name a word; four or more has probability 0.016."""
    named = sum(
        bool(residual_words(*images(0.0, seed), WORDS, permutations=40).words)  # type: ignore[arg-type]
        for seed in range(20)
    )
    assert named <= 3
    assert "no interpretable direction" in str(residual_words(*images(0.0, 1), WORDS, permutations=40))


def test_groups_of_one_class_are_dealt_whole() -> None:
    x, _, group, texts = images(0.0)
    label = group % 2
    found = residual_words(x, label, group, texts, WORDS, permutations=40)
    assert len(found.all) == 20  # groups differ, yet no word is named for that
    assert not found.words
    with pytest.raises(UnmaskError, match="four groups"):
        residual_words(x, label, group // 20, texts, WORDS)
