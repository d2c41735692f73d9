"""CPL and RankStats by hand: votes, partners, each term; rows of an open world; numbers after matching."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from unmask.data.samplers import half_labelled
from unmask.detectors.cpl import CPL, local_similarity, partners, soft_pseudo_loss, vote
from unmask.detectors.rankstats import pair_loss, same_ranks
from unmask.errors import RecipeError
from unmask.measure.attribution import open_world
from unmask.nn.open_world import labelled_partner, mean_entropy, same_class, slowed_cross_entropy
from unmask.tasks.classification import unnamed
from unmask.tasks.recipe import ClassificationRecipe, Recipe


def test_a_margin_slows_the_named_classes() -> None:
    # Logits (1, 0), true class 0 raised by 0.2: log(1 + e^-1.2). The unlabelled row has no part.
    loss = slowed_cross_entropy(torch.tensor([[1.0, 0.0], [5.0, 0.0]]), torch.tensor([0, -1]))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1.2)))
    assert slowed_cross_entropy(torch.ones(2, 2), torch.tensor([-1, -1])).item() == 0


def test_entropy_of_the_mean_and_pairs() -> None:
    # p = (3/4, 1/4) and (1/4, 3/4): mean (1/2, 1/2), entropy log 2; <p1, p2> = 2 x 3/16 = 3/8.
    logits = torch.tensor([[np.log(3), 0.0], [0.0, np.log(3)]])
    assert mean_entropy(logits).item() == pytest.approx(np.log(2))
    assert same_class(logits, torch.tensor([1, 0])).item() == pytest.approx(-np.log(3 / 8), rel=1e-5)


def test_local_similarity_has_the_weights_of_the_first() -> None:
    # Two parts of two numbers. a has norms (3, 4): weights (0.6, 0.8). Cosines with b: 1 and 0.
    parts = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[2.0, 0.0], [1.0, 0.0]]])
    found = local_similarity(parts)
    assert found[0, 1].item() == pytest.approx(0.6)
    assert found[1, 0].item() == pytest.approx(2 / 5**0.5)  # b: norms (2, 1), weights (2, 1) / sqrt 5
    assert found[0, 0].item() == pytest.approx(1.4)  # with itself the weights add up


def test_votes() -> None:
    local = torch.tensor([[1.0, 0.9, 0.1], [0.2, 1.0, 0.8], [0.7, 0.3, 1.0]])
    neighbour = torch.tensor([1, 0, 0])
    # Off the diagonal row 0 is largest at 1, row 1 at 2, row 2 at 0.
    assert vote(neighbour, local, "pair").tolist() == [True, False, True]
    # Second-largest of rows (0.9, 0.8, 0.7), of columns (0.7, 0.9, 0.8): 0.9 >= 0.9; 0.8 >= 0.7; 0.7 >= 0.7.
    assert vote(neighbour, local, "code").tolist() == [True, True, True]
    assert vote(neighbour, local - torch.diag(torch.tensor([0.0, 0.0, 0.5])), "code").tolist() == [True, True, False]
    assert vote(neighbour, local, "global").all()


def test_partners_of_named_rows_are_of_their_class() -> None:
    label = torch.tensor([0, 0, 1, -1, -1])
    for seed in range(5):
        torch.manual_seed(seed)
        assert labelled_partner(label)[:3].tolist() == [1, 0, 2]  # the third is alone
    features = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.2]])
    partner, accepted = partners(features, features[:, None].repeat(1, 4, 1), label, "global")
    assert partner.tolist() == [1, 0, 2, 2, 1]
    assert accepted.all()


def test_pseudo_labels_count_by_confidence_and_votes() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]], requires_grad=True)
    free, accepted = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    loss = soft_pseudo_loss(logits, free, accepted)
    torch.manual_seed(0)
    z = logits[:2].detach()
    q = F.gumbel_softmax(z, tau=1.0)
    p = z.softmax(1)
    by_hand = p[0, q[0].argmax()] * -(q[0] * z[0].log_softmax(0)).sum() / 2  # the second was voted down
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1:].abs().sum() == 0


def test_sure_rows_are_labelled_late_in_the_run() -> None:
    detector = CPL("tiny-resnet", 32, relabel=0.5, cut=0.9)
    logits, label = torch.tensor([[9.0, 0.0], [0.1, 0.0], [0.0, 9.0]]), torch.tensor([-1, -1, 0])
    detector.done = 0.4
    assert detector._relabelled(logits, label).tolist() == [-1, -1, 0]
    detector.done = 0.6
    assert detector._relabelled(logits, label).tolist() == [0, -1, 0]


def test_ranks() -> None:
    features = torch.tensor([[5.0, 4, 1, 0], [4.0, 5, 0, 1], [0.0, 1, 4, 5]])
    assert same_ranks(features, 2).tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    # p all (1/2, 1/2): every <p_i, p_j> is 1/2, so that each pair costs log 2.
    assert pair_loss(torch.zeros(3, 2), same_ranks(features, 2)).item() == pytest.approx(np.log(2))


def test_open_world_numbers() -> None:
    # Known a, b: 2 of 3 as called. New c, d, all in one cluster: 1 of 2 after matching. All: a-a 1, b-b 1, n: 1 of 2.
    truth = np.array(["a", "b", "b", "c", "d"])
    predicted = np.array(["a", "b", "new-1", "new-2", "new-2"])
    found = open_world(truth, predicted, np.array([1, 1, 1, 0, 0]))
    assert (found.known, found.novel, found.all) == (pytest.approx(2 / 3), 0.5, pytest.approx(3 / 5))
    assert found.novel_nmi == pytest.approx(0)  # one cluster says nothing
    # Other names for the same clusters change no number but `known`.
    other = np.array(["b", "a", "new-3", "a", "a"])
    turned = np.array([dict(zip(predicted, other, strict=True))[p] for p in predicted])
    again = open_world(truth, np.array([f"x{t}" for t in turned]), np.array([1, 1, 1, 0, 0]))
    assert again.known == 0


def test_matching_random_clusters_is_above_chance_and_ari_is_not() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(5, size=400), rng.integers(5, size=400)
    found = open_world(truth, predicted, np.zeros(400, int))
    assert found.novel > 1 / 5
    assert abs(found.novel_ari) < 0.02


def recipe(**world: object) -> ClassificationRecipe:
    values = {
        "task": "classification", "name": "r", "method": "cpl", "length": "1 steps", "optimizer": {"lr": 0.1},
        "classes": ["a"], "open_world": {"slots": 2, **world},
    }  # fmt: skip
    found = Recipe.model_validate(values)
    assert isinstance(found, ClassificationRecipe)
    return found


def test_groups_share_their_fate() -> None:
    group = [f"g{n // 4}" for n in range(400)]
    table = pa.table({"group_id": group, "extra": [[("p", "labelled"), ("q", "x")]] * 400})
    name = np.array(["a"] * 200 + ["b"] * 200)
    shown = unnamed(table, name, recipe())
    assert recipe().answers == ("a", "new-1", "new-2")
    for g in set(group):
        assert len({s for s, of in zip(shown, group, strict=True) if of == g}) == 1
    assert 0.6 < (shown[:200] == "a").mean() < 0.9  # 3/4 of 50 groups
    assert set(shown[:200]) == {"a", "?"}
    assert set(shown[200:]) == {"?", ""}
    tagged = unnamed(table, name, recipe(tags="p"))
    assert set(tagged[:200]) == {"a"}
    assert set(tagged[200:]) == {"?"}
    with pytest.raises(ValueError, match="known classes by name"):
        Recipe.model_validate(recipe().model_dump(by_alias=True) | {"classes": []})


def test_half_of_a_batch_is_labelled() -> None:
    label = np.array([0] * 20 + [1] * 4 + [-1] * 40)
    plan = half_labelled(label, 8, 0, 0)
    for batch in plan.batches():
        of = label[[key[0] for key in batch]]
        assert (of == 0).sum() == (of == 1).sum() == 2
        assert (of < 0).sum() == 4
    with pytest.raises(RecipeError, match=r"half labelled \(24 rows\) and half unlabelled \(0\)"):
        half_labelled(label[:24], 8, 0, 0)
