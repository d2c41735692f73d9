"""Parts that pre-training objectives share: values by hand, and properties that must hold for any input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.cached import cached_backward
from unmask.nn.contrastive import cosines, info_nce
from unmask.nn.hypersphere import kernel_entropy, squared_distances
from unmask.nn.momentum import MomentumEncoder, cosine_momentum
from unmask.nn.predictive import negative_cosine
from unmask.nn.queue import FeatureQueue, random_directions
from unmask.nn.sinkhorn import effective_prototypes, sinkhorn
from unmask.nn.triplets import mine_triplets, triplet_loss
from unmask.types import UnmaskError


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- momentum encoder -------------------------------------------------------------------------------------------------


def test_a_teacher_moves_a_tenth_of_the_way_and_has_no_gradient() -> None:
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, 2.0)
    teacher = MomentumEncoder(student)
    nn.init.constant_(student.weight, 4.0)
    teacher.follow(student, 0.9)
    assert teacher.module.weight.item() == pytest.approx(2.2)  # 0.9 * 2 + 0.1 * 4
    assert not teacher(torch.ones(1, 1)).requires_grad
    assert student.weight.requires_grad


@pytest.mark.parametrize(("buffers", "mean"), [("copy", 1.0), ("average", 0.1), ("own", 0.0)])
def test_running_statistics_follow_as_asked(buffers: str, mean: float) -> None:
    student = nn.BatchNorm1d(1)
    teacher = MomentumEncoder(student, buffers)  # type: ignore[arg-type]
    student.running_mean.fill_(1)
    student.num_batches_tracked.fill_(7)
    teacher.follow(student, 0.9)
    assert teacher.module.running_mean.item() == pytest.approx(mean)
    assert teacher.module.num_batches_tracked.item() == (0 if buffers == "own" else 7)


def test_the_momentum_ends_at_one() -> None:
    # Half-way: 1 - (1 - 0.99) (cos(pi / 2) + 1) / 2 = 1 - 0.005
    assert [cosine_momentum(0.99, x) for x in (0, 0.5, 1)] == pytest.approx([0.99, 0.995, 1.0])


# --- Sinkhorn ---------------------------------------------------------------------------------------------------------


def test_one_iteration_by_hand() -> None:
    # exp(scores / epsilon) = [[1, 2], [3, 2]]. Prototypes sum to 4 and 4: [[1/4, 2/4], [3/4, 2/4]]; then rows to 1.
    scores = torch.tensor([[1.0, 2.0], [3.0, 2.0]], dtype=torch.float64).log()
    codes = sinkhorn(scores, epsilon=1.0, iterations=1)
    torch.testing.assert_close(codes, torch.tensor([[1 / 3, 2 / 3], [3 / 5, 2 / 5]], dtype=torch.float64))


def test_codes_are_distributions_that_use_all_prototypes_alike() -> None:
    scores = cosines(randn(256, 16), randn(60, 16, seed=1))
    codes = sinkhorn(scores, iterations=50)
    torch.testing.assert_close(codes.sum(1), torch.ones(256, dtype=torch.float64), atol=1e-12, rtol=0)
    usage = codes.sum(0) / (256 / 60)
    assert ((usage - 1).abs() < 0.05).all()
    plain = (scores / 0.05).softmax(1).sum(0) / (256 / 60)
    assert ((plain - 1).abs() > 0.05).any()  # what it is balanced from is not balanced


def test_equal_samples_have_uniform_codes_and_no_overflow() -> None:
    codes = sinkhorn(torch.ones(8, 5, dtype=torch.float16))  # exp(1 / 0.05) is infinite in float16
    torch.testing.assert_close(codes, torch.full((8, 5), 0.2))


def test_a_queue_has_a_say_as_if_it_were_in_the_batch() -> None:
    scores = cosines(randn(40, 8), randn(10, 8, seed=1))
    together = sinkhorn(scores)
    torch.testing.assert_close(sinkhorn(scores[:16], queued=scores[16:]), together[:16], atol=1e-12, rtol=0)
    torch.testing.assert_close(sinkhorn(scores, queued=scores[:0]), together, atol=1e-12, rtol=0)


def test_prototypes_in_use_are_counted() -> None:
    assert effective_prototypes(torch.eye(4)).item() == pytest.approx(4)
    assert effective_prototypes(torch.ones(4, 1) * torch.tensor([0.0, 1.0, 0.0])).item() == pytest.approx(1)
    # Shares 3/4 and 1/4: exp(3/4 log 4/3 + 1/4 log 4)
    codes = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    assert effective_prototypes(codes).item() == pytest.approx((4 / 3) ** 0.75 * 4**0.25)


# --- queue ------------------------------------------------------------------------------------------------------------


def test_a_ring_keeps_the_last_rows_whatever_the_batch() -> None:
    queue = FeatureQueue(5, 1)
    assert not queue.ready
    for begin in (0, 3, 6):
        queue.push(torch.arange(begin, begin + 3.0)[:, None], torch.arange(begin, begin + 3))
    assert queue.ready
    assert sorted(queue.filled[:, 0].tolist()) == [4, 5, 6, 7, 8]
    assert queue.ids.tolist() == queue.rows[:, 0].int().tolist()
    queue.push(torch.arange(20.0, 32)[:, None])
    assert sorted(queue.filled[:, 0].tolist()) == [27, 28, 29, 30, 31]
    assert queue.ids.tolist() == [-1] * 5
    again = FeatureQueue(5, 1)
    again.load_state_dict(queue.state_dict())
    again.push(torch.tensor([[1.0]]))
    queue.push(torch.tensor([[1.0]]))
    assert torch.equal(again.rows, queue.rows)


def test_a_queue_is_partly_filled_or_begins_full() -> None:
    queue = FeatureQueue(4, 2)
    queue.push(torch.ones(3, 2, requires_grad=True))
    assert queue.filled.tolist() == [[1, 1]] * 3
    assert not queue.filled.requires_grad
    assert FeatureQueue(4, 2, random_directions(4, 2)).ready
    with pytest.raises(UnmaskError, match="positive size"):
        FeatureQueue(0, 2)


# --- predictive -------------------------------------------------------------------------------------------------------


def test_the_negative_cosine_by_hand_and_its_stopped_gradient() -> None:
    prediction = torch.tensor([[1.0, 0.0], [1.0, 1.0]], requires_grad=True)
    target = torch.tensor([[2.0, 0.0], [3.0, 0.0]], requires_grad=True)
    loss = negative_cosine(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx(-(1 + math.sqrt(0.5)) / 2)
    assert target.grad is None
    assert prediction.grad is not None


# --- distances, entropy -----------------------------------------------------------------------------------------------


def test_squared_distances_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[3.0, 4.0]])
    assert squared_distances(a, b).tolist() == [[25.0], [0.0]]


def test_the_joint_entropy_by_hand() -> None:
    # Two points, at distance^2 1 in one code and 2 in the other: each sees itself (1) and e^-(1 + 2).
    one, other = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [math.sqrt(2)]])
    assert kernel_entropy([one, other]).item() == pytest.approx(-math.log((1 + math.exp(-3)) / 2), abs=1e-6)
    assert kernel_entropy([torch.zeros(5, 2)]).item() == pytest.approx(0, abs=1e-6)
    assert kernel_entropy([100 * torch.eye(5)]).item() == pytest.approx(math.log(5), abs=1e-6)


# --- triplets ---------------------------------------------------------------------------------------------------------


def test_the_semi_hard_triplets_of_twelve_points_are_all_and_only_those() -> None:
    z, label, margin = F.normalize(randn(12, 4), dim=1), torch.arange(12) % 3, 0.2
    d = squared_distances(z, z)
    want = {
        (a, p, n)
        for a in range(12)
        for p in range(12)
        for n in range(12)
        if a != p and label[a] == label[p] and label[a] != label[n] and d[a, p] < d[a, n] < d[a, p] + margin
    }
    found = mine_triplets(d, label, "semihard", margin)
    assert want
    assert set(zip(*(i.tolist() for i in found), strict=True)) == want
    assert len(found[0]) == len(want)
    by_hand = sum(float(d[a, p] - d[a, n]) + margin for a, p, n in want) / len(want)
    assert triplet_loss(d, found, margin).item() == pytest.approx(by_hand, abs=1e-12)


def test_the_other_ways_to_mine() -> None:
    # On a line: 0 and 1 are of one class, 3 and 7 of the other.
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    d, label = squared_distances(x, x), torch.tensor([0, 0, 1, 1])
    hardest = set(zip(*(i.tolist() for i in mine_triplets(d, label, "hardest")), strict=True))
    assert hardest == {(0, 1, 2), (1, 0, 2), (2, 3, 1), (3, 2, 1)}
    assert len(mine_triplets(d, label, "all")[0]) == 8
    random = mine_triplets(d, label, "random", generator=torch.Generator().manual_seed(0))
    assert len(random[0]) == 4
    assert (label[random[0]] != label[random[2]]).all()
    # max(0, 1 - 9 + .2), max(0, 1 - 4 + .2), max(0, 16 - 4 + .2), max(0, 16 - 36 + .2)
    assert triplet_loss(d, mine_triplets(d, label, "hardest")).item() == pytest.approx(12.2 / 4, abs=1e-6)


def test_without_triplets_the_loss_is_zero_and_has_a_gradient() -> None:
    d = torch.rand(3, 3, requires_grad=True)
    for kind in ("semihard", "hardest", "all", "random"):
        loss = triplet_loss(d, mine_triplets(d, torch.arange(3), kind))  # type: ignore[arg-type]
        loss.backward()
        assert loss.item() == 0


# --- gradient in chunks -----------------------------------------------------------------------------------------------


def loss(z: Tensor) -> Tensor:
    return info_nce(cosines(z[::2], z[1::2]) / 0.1, torch.eye(len(z) // 2).bool())


def test_a_batch_in_chunks_has_the_gradient_of_the_whole() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double(), randn(12, 4)
    loss(net(x)).backward()
    whole = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    value = cached_backward(net, x, loss, chunk=5)
    assert value.item() == pytest.approx(loss(net(x)).item(), abs=1e-12)
    for mine, want in zip(net.parameters(), whole, strict=True):
        torch.testing.assert_close(mine.grad, want, atol=1e-12, rtol=0)


def test_dropout_is_the_same_in_both_passes_and_batch_norm_is_refused() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double(), randn(12, 4)
    torch.manual_seed(3)
    cached_backward(net, x, loss, chunk=5)
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    after = torch.rand(1)
    net.zero_grad()
    torch.manual_seed(3)
    loss(torch.cat([net(part) for part in x.split(5)])).backward()  # the same draws, one graph
    assert torch.equal(torch.rand(1), after)
    for mine, want in zip(net.parameters(), found, strict=True):
        torch.testing.assert_close(mine.grad, want, atol=1e-12, rtol=0)
    with pytest.raises(UnmaskError, match="1 normalises over the batch"):
        cached_backward(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), x.float(), loss, chunk=5)
