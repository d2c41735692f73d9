"""Losses of sentences by hand, and identities between them; numbers of retrieval and similarity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unmask.base.objective import Views
from unmask.errors import InputError
from unmask.measure.embeddings import centroid_distance, health, separability
from unmask.measure.retrieval import ranks, recall
from unmask.measure.similarity import partial_spearman, spearman, surface
from unmask.nn.contrastive import cosines, supervised_contrastive
from unmask.objectives.debcse import debiased_loss, debiased_weights, drawn, surface_similarity
from unmask.objectives.simcse import simcse_loss
from unmask.objectives.text_contrast import (
    binary_nce,
    hard_negative_loss,
    input_label_loss,
    margin_loss,
    mutual_information,
    off_diagonal,
    pair_loss,
    ranking_loss,
)
from unmask.registry import FAMILIES

EYE = torch.eye(2)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_simcse_with_and_without_hard_negatives() -> None:
    third = 1 / math.log(3)  # cosines 1 and 0 become logits ln 3 and 0
    torch.testing.assert_close(simcse_loss(EYE, EYE, third), torch.tensor(math.log(4 / 3)))
    # Negatives as near as the positive: exp ln 3 of the own one, 1 of the other: -log(3 / 8).
    torch.testing.assert_close(simcse_loss(EYE, EYE, third, EYE), torch.tensor(math.log(8 / 3)))
    # Its logit raised by ln 2: 3 + 1 + 6 + 1.
    torch.testing.assert_close(simcse_loss(EYE, EYE, third, EYE, math.log(2)), torch.tensor(math.log(11 / 3)))


def test_surface_and_weights_of_debiasing() -> None:
    found = surface_similarity(["a red car", "the sea"], ["a red boat", "The sea"])
    # Two of four words and equal lengths: (0.5 + 1) / 2; none in common, two words to three: (0 + 2/3) / 2.
    torch.testing.assert_close(found, torch.tensor([[0.75, 1 / 3], [1 / 3, 1.0]]))
    weights = debiased_weights(torch.tensor([[0.8, 0.8]]), torch.tensor([[0.95, 0.35]]), clip=10)
    # 0.8 / 1 and 0.8 / 0.4 = 0.8 and 2: shares 2 / 7 and 5 / 7.
    torch.testing.assert_close(weights, torch.tensor([[2 / 7, 5 / 7]]))
    even = debiased_weights(torch.rand(3, 5), torch.rand(3, 5), 0, 0)
    torch.testing.assert_close(even, torch.full((3, 5), 0.2))
    extreme = debiased_weights(torch.tensor([[1.0, 1, 1, 1e-9]]), torch.tensor([[1.0, 1, 1e-9, 1]]), clip=2)
    assert extreme.sum().item() == pytest.approx(1)
    assert (extreme.max() / extreme.min()).item() <= 4 + 1e-4  # between 1/2 and 2 of the mean
    torch.manual_seed(0)
    index = drawn(torch.tensor([[0.5, 0.5, 0.0, 0.0]]).repeat(50, 1), 2)
    assert {tuple(sorted(row)) for row in index.tolist()} == {(0, 1)}
    share = (drawn(torch.tensor([[0.8, 0.2]]).repeat(4000, 1), 1) == 0).float().mean()
    assert share.item() == pytest.approx(0.8, abs=0.03)


def test_the_neutral_debiased_setting_is_simcse_bitwise() -> None:
    torch.manual_seed(0)
    anchor, positive = torch.randn(6, 4), torch.randn(6, 4)
    neutral = debiased_loss(anchor, positive, torch.ones(6, 6, dtype=torch.bool))
    assert torch.equal(neutral, simcse_loss(anchor, positive))
    said = ("a red circle", "two blue squares", "a cross", "rain on the sea")
    batch = Views((), (), torch.arange(4), torch.zeros(4), texts=(said,))
    family, found = FAMILIES["objective"], []
    for name, options in (("simcse", {}), ("debcse", {"meaning": 0.0, "surface": 0.0, "guard": 2.0, "hard": 0})):
        torch.manual_seed(0)
        method = family.create(name, family.card(name).small | options)
        torch.manual_seed(1)
        (term,) = method.loss(batch).values()
        found.append(term)
    assert torch.equal(*found)


def test_the_guard_leaves_a_duplicate_out_and_a_hard_negative_counts_twice() -> None:
    x, allowed = torch.cat([EYE, EYE[:1]]), torch.ones(3, 3, dtype=torch.bool)
    allowed[0, 2] = allowed[2, 0] = False
    third = 1 / math.log(3)
    # Rows 1 and 3: 3 of 3 + 1. Row 2: 3 of 3 + 1 + 1.
    want = (2 * math.log(4 / 3) + math.log(5 / 3)) / 3
    torch.testing.assert_close(debiased_loss(x, x, allowed, None, third), torch.tensor(want))
    hard = torch.tensor([[1], [0], [1]])  # 3 of 5, 3 of 6, 3 of 5
    want = (2 * math.log(5 / 3) + math.log(2)) / 3
    torch.testing.assert_close(debiased_loss(x, x, allowed, hard, third), torch.tensor(want))


def test_families_by_hand() -> None:
    positive, negative = torch.tensor([0.0]), torch.tensor([[0.0, math.log(3)]])
    # -log 1/2 - log 1/2 - log 1/4
    torch.testing.assert_close(binary_nce(positive, negative), torch.tensor(math.log(16)))
    # b = ln 3: -log sigmoid(-ln 3) - log sigmoid(ln 3) - log sigmoid(0)
    torch.testing.assert_close(binary_nce(positive, negative, math.log(3)), torch.tensor(math.log(4 * 4 / 3 * 2)))
    torch.testing.assert_close(margin_loss(torch.tensor([0.5]), torch.tensor([[0.4, -1.0]])), torch.tensor(0.05))
    same = torch.tensor([True, False, False])
    torch.testing.assert_close(pair_loss(torch.tensor([0.5, 0.5, 2.0]), same), torch.tensor((0.25 + 0.25) / 3))
    scores, true = torch.zeros(1, 3), torch.tensor([[True, True, False]])
    torch.testing.assert_close(input_label_loss(scores, true), torch.tensor(3 * math.log(2)))
    assert off_diagonal(torch.arange(9).view(3, 3)).tolist() == [[1, 2], [3, 5], [6, 7]]


def test_identities_between_families() -> None:
    torch.manual_seed(0)
    positive, negative = torch.rand(5, dtype=torch.float64), torch.rand(5, 7, dtype=torch.float64)
    one = ranking_loss(positive, negative[:, :1])
    torch.testing.assert_close(one, F.softplus(negative[:, 0] - positive).mean())  # K = 1: logistic loss
    torch.testing.assert_close(hard_negative_loss(positive, negative, 1.0, 0.0), ranking_loss(positive, negative))
    bound = mutual_information(ranking_loss(positive * 100, negative), 7)
    assert bound.item() <= math.log(8)
    z = torch.randn(6, 4, dtype=torch.float64)
    cosine = cosines(z, z) / 0.1  # with one positive each, SupCon is InfoNCE
    label = torch.arange(3).repeat(2)
    twin = torch.arange(6).roll(3)
    rows = torch.arange(6)
    others = torch.stack(
        [torch.tensor([j for j in rows.tolist() if j not in (i, int(twin[i]))]) for i in rows.tolist()]
    )
    want = ranking_loss(cosine[rows, twin], cosine.gather(1, others))
    torch.testing.assert_close(supervised_contrastive(z, label, 0.1), want)


def test_negative_samplings_optimum_is_pointwise_mutual_information() -> None:
    """Levy and Goldberg, NIPS 2014, on six words: scores end at PMI - log K."""
    rng = np.random.default_rng(0)
    joint = rng.random((6, 6)) + 0.2
    joint = torch.from_numpy(joint / joint.sum())
    word, context = joint.sum(1), joint.sum(0)
    noise, k = word[:, None] * context, 3
    score = torch.zeros(6, 6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([score], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        # The expectation of binary_nce over pairs, and over K draws of the noise.
        one = torch.zeros(1, 0, dtype=torch.float64)
        right = torch.stack([binary_nce(s[None], one) for s in score.flatten()]).view(6, 6)
        wrong = F.softplus(score)
        loss = (joint * right + k * noise * wrong).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    pmi = (joint / noise).log() - math.log(k)
    torch.testing.assert_close(score.detach(), pmi, atol=0.05, rtol=0)


def test_any_of_an_images_captions_is_a_hit() -> None:
    rng = np.random.default_rng(0)
    image, text, owner = rng.normal(size=(9, 5)), rng.normal(size=(45, 5)), np.repeat(np.arange(9), 5)
    found = recall(image, text, owner, at=(1, 3))
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (image, text))
    for k in (1, 3):
        forth = [bool(set(owner[np.argsort(-(y @ x[i]))[:k]]) & {i}) for i in range(9)]
        back = [owner[j] in np.argsort(-(x @ y[j]))[:k] for j in range(45)]
        assert found[f"image_to_text_r{k}"] == pytest.approx(np.mean(forth))
        assert found[f"text_to_image_r{k}"] == pytest.approx(np.mean(back))
    assert ranks([[1.0, 1.0, 0.5]], [[False, True, False]]).tolist() == [1]  # a tie does not count as found
    assert recall(np.ones((3, 2)), np.ones((3, 2)), np.arange(3))["image_to_text_r1"] == 0
    with pytest.raises(InputError, match="1 queries have no right candidate"):
        recall(np.eye(2), np.eye(2), [0, 0])


def test_rank_correlation_and_what_surface_explains_of_it() -> None:
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15) = 0.8.
    assert spearman([0, 1, 2, 5], [0.1, 0.5, 0.3, 0.9]) == pytest.approx(0.8)
    rng = np.random.default_rng(0)
    length = rng.permutation(60)
    gold, cue = length + rng.normal(0, 1e-3, 60), length
    assert spearman(gold, cue) == pytest.approx(1)
    gold, noisy = (length + rng.normal(0, 3, 60) for _ in range(2))  # alike by their length alone
    assert abs(partial_spearman(gold, noisy, [cue])) < 0.4 < spearman(gold, noisy)
    assert math.isnan(spearman([1, 2, 3], [1, 1, 1]))
    difference, overlap = surface(["a red car"], ["a red boat at sea"])
    assert (difference[0], overlap[0]) == (2, pytest.approx(2 / 6))


def test_numbers_of_the_gap() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 8))
    assert centroid_distance(z, z) == 0
    one, other = np.array([[1.0, 0]] * 4), np.array([[0, 1.0]] * 4)
    assert centroid_distance(one, other) == pytest.approx(math.sqrt(2))
    apart = z + 5 * np.eye(8)[0]
    assert separability(apart, z - 5 * np.eye(8)[0]) == 1
    assert separability(z, z) == pytest.approx(0.5)
    assert health(np.ones((4, 3)))["spread"] == 0
