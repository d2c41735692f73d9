"""Probes and health numbers of embeddings by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unmask.errors import InputError
from unmask.measure import embeddings


def test_neighbours_vote_by_their_cosine() -> None:
    # The query points to (1, 0): cosines 1, 0.8 and 0.6 of classes a, b, b. Weights exp(x / 0.07): a has exp(14.29),
    # b exp(11.43) + exp(8.57), which is less; of one neighbour a wins too, and of the last two b would.
    bank = np.array([[2.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    assert embeddings.knn_accuracy(bank, ["a", "b", "b"], [[1.0, 0.0]], ["a"], k=3) == 1
    assert embeddings.knn_accuracy(bank[1:], ["b", "b"], [[1.0, 0.0]], ["a"], k=20) == 0


def test_a_constant_answer_has_one_half_of_two_classes() -> None:
    assert embeddings.balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0]) == 0.5


def test_a_linear_probe_reads_a_direction() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 5)), np.arange(80) % 2
    x[:, 2] += 4 * y
    assert embeddings.linear_accuracy(x[:40], y[:40], x[40:], y[40:]) > 0.9


def test_effective_rank_counts_directions() -> None:
    corners = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert embeddings.effective_rank(corners) == pytest.approx(2)  # two equal singular values
    assert embeddings.effective_rank(corners * [1, 0]) == pytest.approx(1)
    assert embeddings.effective_rank(np.ones((4, 3))) == 0


def test_uniformity_and_alignment_by_hand() -> None:
    # unit vectors at right angles: |z - w|^2 = 2, so log exp(-2 * 2) = -4; opposite ones: log exp(-8) = -8
    assert embeddings.uniformity([[1.0, 0], [0, 3]]) == pytest.approx(-4)
    assert embeddings.uniformity([[1.0, 0], [-2, 0]]) == pytest.approx(-8)
    assert embeddings.alignment([[1.0, 0], [1, 0]], [[2.0, 0], [0, 1]]) == pytest.approx((0 + 2) / 2)


def test_pairs_are_as_many_of_each_kind() -> None:
    first, second = embeddings.pairs(["a", "a", "b", "b", "c"])
    label = np.array(list("aabbc"))
    assert (label[first] == label[second]).tolist() == [True, True, False, False]
    assert len(embeddings.pairs(["a"] * 5 + ["b"] * 5, most=3)[0]) == 6
    with pytest.raises(InputError, match="pairs of one class and of two"):
        embeddings.pairs(["a", "a"])
    assert math.isclose(np.linalg.norm(embeddings.unit([[3.0, 4.0]])[0]), 1)
