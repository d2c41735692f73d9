"""Losses of pre-training beside lightly's and pytorch-metric-learning's on the same numbers: value and gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import NTXentLoss as PairLoss
from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.contrastive import cosines, info_nce, nt_xent, queue_nce, supervised_contrastive
from unmask.nn.hypersphere import squared_distances
from unmask.nn.predictive import negative_cosine
from unmask.nn.sinkhorn import sinkhorn
from unmask.nn.triplets import mine_triplets
from unmask.objectives.facenet import facenet_loss
from unmask.objectives.selfcon import selfcon_loss
from unmask.objectives.swav import swav_loss

Loss = Callable[..., Tensor]
SEEDS = range(3)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(mine: Loss, theirs: Loss, *inputs: Tensor) -> None:
    """Value and gradients to 1e-9, in float64."""
    found = []
    for loss in (mine, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = loss(*leaves).squeeze()
        value.backward()
        found.append((value.detach(), [x.grad for x in leaves]))
    (value, grads), (want, want_grads) = found
    torch.testing.assert_close(value, want, atol=1e-9, rtol=0)
    for grad, want_grad in zip(grads, want_grads, strict=True):
        torch.testing.assert_close(grad, want_grad, atol=1e-9, rtol=0)
    assert any(g is not None and g.abs().max() > 1e-6 for g in grads)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_simclr_is_lightlys(seed: int, temperature: float) -> None:
    same(
        lambda a, b: nt_xent(a, b, temperature), NTXentLoss(temperature), randn(17, 8, seed=seed), randn(17, 8, seed=9)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_moco_is_lightlys(seed: int) -> None:
    queue = F.normalize(randn(40, 8, seed=5), dim=1)
    theirs = NTXentLoss(0.2, memory_bank_size=(40, 8))
    theirs.memory_bank.bank, theirs.memory_bank.bank_ptr = queue.clone(), torch.zeros(1, dtype=torch.long)
    key = randn(17, 8, seed=seed + 1)
    same(lambda q: queue_nce(q, key, queue, 0.2), lambda q: theirs(q, key), randn(17, 8, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_simsiam_and_byol_are_lightlys(seed: int) -> None:
    target = randn(17, 8, seed=seed + 1)
    same(lambda p: negative_cosine(p, target), lambda p: NegativeCosineSimilarity()(p, target), randn(17, 8, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("queued", [False, True])
def test_swav_is_lightlys(seed: int, queued: bool) -> None:
    prototypes = randn(12, 8, seed=7)
    crops = [randn(17, 8, seed=10 * seed + n) for n in range(5)]
    old = [cosines(randn(9, 8, seed=20 + n), prototypes) for n in range(2)] if queued else None

    def mine(*z: Tensor) -> Tensor:
        scores = [cosines(x, prototypes) for x in z]
        codes = [sinkhorn(scores[i], queued=old[i] if old else None) for i in range(2)]
        return swav_loss(scores, codes)

    def theirs(*z: Tensor) -> Tensor:
        scores = [cosines(x, prototypes) for x in z]
        loss = SwaVLoss().double()
        return loss(scores[:2], scores[2:], old)  # type: ignore[no-any-return]

    same(mine, theirs, *crops)
    scores = cosines(crops[0], prototypes)
    torch.testing.assert_close(sinkhorn(scores), lightly_sinkhorn(scores.clone()), atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_supcon_and_selfcon_are_pytorch_metric_learnings(seed: int) -> None:
    label = torch.arange(18) % 4
    same(lambda z: supervised_contrastive(z, label, 0.1), lambda z: SupConLoss(0.1)(z, label), randn(18, 8, seed=seed))
    same(
        lambda a, b: selfcon_loss([a, b], label, 0.07),
        lambda a, b: SupConLoss(0.07)(torch.cat([a, b]), label.repeat(2)),
        randn(18, 8, seed=seed),
        randn(18, 8, seed=seed + 30),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_positives_of_their_own_are_pytorch_metric_learnings_nt_xent(seed: int) -> None:
    label = torch.arange(18) % 4

    def mine(z: Tensor) -> Tensor:
        itself = torch.eye(18, dtype=torch.bool)
        same_label = label[:, None] == label
        return info_nce(cosines(z, z) / 0.1, same_label, ~itself, positives="own", reduction="pairs")

    same(mine, lambda z: PairLoss(0.1)(z, label), randn(18, 8, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_facenets_triplets_and_loss_are_pytorch_metric_learnings(seed: int) -> None:
    label = torch.arange(20) % 5
    distance = LpDistance(p=2, power=2, normalize_embeddings=True)
    miner = TripletMarginMiner(0.2, "semihard", distance=distance)
    loss = TripletMarginLoss(0.2, distance=distance)  # the mean over triplets with a loss above 0: all that are mined
    z = randn(20, 3, seed=seed)
    unit = F.normalize(z, dim=1)
    mine = mine_triplets(squared_distances(unit, unit), label)
    theirs = miner(z, label)
    assert len(mine[0]) > 5
    assert {*zip(*(i.tolist() for i in mine), strict=True)} == {*zip(*(i.tolist() for i in theirs), strict=True)}
    same(lambda x: facenet_loss(x, label)[0], lambda x: loss(x, label, miner(x, label)), z)
