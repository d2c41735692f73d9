"""Plans of an epoch: what each promises holds for every batch, for any number of processes, from any step on."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from unmask.data.samplers import Plan, by_class, by_method, grouped, paired, pk, shuffled
from unmask.types import UnmaskError


def table(n: int = 1003, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """label, method, group, pair: one real to about four fakes, methods of very unequal size."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.8).astype(np.int8)
    method = np.where(label == 1, rng.choice([1, 2, 3], n, p=[0.7, 0.25, 0.05]), 0)
    group = np.minimum(rng.geometric(0.05, n), 40)
    real = np.flatnonzero(label == 0)
    pair = np.where(label == 1, rng.choice(real, n), -1)
    pair[rng.random(n) < 0.1] = -1
    used = np.unique(pair[pair >= 0])
    pair[used] = used
    return label, method, group, pair


def rows(plan: Plan, **share: int) -> list[list[int]]:
    return [[key[0] for key in keys] for keys in plan.batches(**share)]


def plans(seed: int, epoch: int) -> dict[str, Plan]:
    label, method, group, pair = table()
    return {
        "shuffled": shuffled(len(label), 24, seed, epoch),
        "groups": shuffled(len(label), 24, seed, epoch, group=group),
        "class": by_class(label, 24, seed, epoch, group=group),
        "method": by_method(label, method, 24, seed, epoch, group=group),
        "paired": paired(label, pair, 24, seed, epoch, method=method, group=group),
        "paired real": paired(label, pair, 24, seed, epoch, every="real"),
        "grouped": grouped(*family(), 48, seed, epoch, group=np.arange(500) // 7),
    }


def family(people: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """label, pair, method: each real crop with two forgeries by method 5, one by 2 and by 9; of the first no 9."""
    label = np.tile([0, 1, 1, 1, 1], people).astype(np.int8)
    method = np.tile([0, 5, 2, 9, 5], people)
    pair = np.repeat(np.arange(people) * 5, 5)
    pair[3] = -1
    return label, pair, method


NAMES = tuple(plans(0, 0))


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_is_its_seed_and_epoch(name: str) -> None:
    first = list(plans(1, 2)[name].batches())
    assert first == list(plans(1, 2)[name].batches())
    assert rows(plans(1, 3)[name]) != rows(plans(1, 2)[name]) != rows(plans(2, 2)[name])
    assert len(first) == len(plans(1, 2)[name])


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_in_the_middle_with_the_same_batches_and_draws(name: str) -> None:
    plan = plans(5, 1)[name]
    assert list(plan.batches())[7:] == list(plan.batches(start=7))
    assert list(plan.batches(start=len(plan))) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_together_see_the_batch_that_one_would_see(name: str, world: int) -> None:
    plan = plans(5, 1)[name]
    shares = [list(plan.batches(rank=r, world=world)) for r in range(world)]
    for whole, *parts in zip(plan.batches(), *shares, strict=True):
        assert len({len(p) for p in parts}) == 1
        assert sorted(itertools.chain(*parts)) == sorted(whole)


def test_each_row_comes_once() -> None:
    seen = Counter(itertools.chain(*rows(shuffled(96, 24, 0, 0))))
    assert seen == Counter(range(96))
    kept = rows(shuffled(1003, 24, 0, 0, keep_last=True))
    assert Counter(itertools.chain(*kept)) == Counter(range(1003))
    assert {len(b) for b in kept} == {23, 24}
    left = [set(range(1003)) - set(itertools.chain(*rows(shuffled(1003, 24, 0, e)))) for e in (0, 1)]
    assert [len(s) for s in left] == [1003 % 24] * 2
    assert left[0] != left[1]


def test_no_group_has_more_of_a_batch_than_its_fair_share() -> None:
    group = np.repeat(np.arange(31), [300, 100, *[20] * 29])
    plan = shuffled(len(group), 20, 0, 0, group=group)
    counts = [Counter(group[b].tolist()) for b in rows(plan)]
    assert len(counts) == 49
    for g, size in Counter(group.tolist()).items():
        assert max(c[g] for c in counts) <= -(-size // 49)
    assert max(Counter(group[b].tolist())[0] for b in rows(shuffled(len(group), 20, 0, 0))) > 7  # chance does not


def test_every_batch_holds_as_many_of_each_class_and_every_row_has_its_turn() -> None:
    label, _, group, _ = table()
    label[:5] = -1
    epochs = [rows(by_class(label, 24, 0, e, group=group)) for e in range(2)]
    for batch in itertools.chain(*epochs):
        assert Counter(label[batch].tolist()) == {0: 12, 1: 12}
    for k in (0, 1):
        turns = Counter(r for b in epochs[0] for r in b if label[r] == k)
        assert max(turns.values()) - min(turns[r] for r in np.flatnonzero(label == k).tolist()) <= 1
    assert len(epochs[0]) == 998 // 24
    assert len(by_class(label, 24, 0, 0, steps=100)) == 100


def test_methods_share_the_forged_half_evenly() -> None:
    label, method, group, _ = table()
    for batch in rows(by_method(label, method, 24, 0, 0, group=group)):
        counts = Counter(method[batch].tolist())
        assert counts[0] == 12
        assert {counts[1], counts[2], counts[3]} == {4}
    for batch in rows(by_method(label, method, 20, 0, 0)):
        assert all(Counter(method[batch].tolist())[m] in (3, 4) for m in (1, 2, 3))


def test_a_part_of_a_balanced_batch_is_balanced() -> None:
    label, method, _, _ = table()
    for rank in (0, 1):
        for batch in rows(by_method(label, method, 24, 0, 0), rank=rank, world=2):
            assert Counter(label[batch].tolist()) == {0: 6, 1: 6}


def test_forgeries_without_an_original_are_shown_beside_a_real_face_of_their_data_set() -> None:
    label, _, _, pair = table()
    kin = np.arange(len(label)) % 3
    kin[label == 0] %= 2  # the third data set holds no real crop
    lone = set(np.flatnonzero((label == 1) & (pair < 0)).tolist())
    assert len(lone) > 50
    met = []
    for epoch in (0, 1):
        beside = {}
        for batch in rows(paired(label, pair, 24, 0, epoch, orphans=kin)):
            beside |= dict(zip(batch[1::2], batch[0::2], strict=True))
        assert len(beside) == int((label == 1).sum()) // 12 * 12
        assert all(label[real] == 0 and label[fake] == 1 for fake, real in beside.items())
        assert all(real == pair[fake] for fake, real in beside.items() if fake not in lone)
        found = {fake: real for fake, real in beside.items() if fake in lone}
        assert all(kin[real] == kin[fake] or kin[fake] == 2 for fake, real in found.items())
        assert len(set(found.values())) > len(found) / 2
        met.append(found)
    assert met[0] != met[1]
    with pytest.raises(UnmaskError, match="orphans have no real crop"):
        paired(label, pair, 24, 0, 0, every="real", orphans=kin)
    alone = np.ones(48, np.int8)
    with pytest.raises(UnmaskError, match="0 pairs do not fill a batch"):
        paired(alone, np.full(48, -1), 24, 0, 0, orphans=alone)


def test_pairs_stand_side_by_side_and_every_forgery_comes_once() -> None:
    label, method, _, pair = table()
    seen: Counter[int] = Counter()
    for batch in rows(paired(label, pair, 24, 0, 0, method=method)):
        real, fake = np.array(batch[0::2]), np.array(batch[1::2])
        assert (label[real] == 0).all()
        assert (label[fake] == 1).all()
        assert (pair[fake] == real).all()
        seen.update(fake.tolist())
    able = int(((label == 1) & (pair >= 0)).sum())
    assert set(seen.values()) == {1}
    assert len(seen) == able // 12 * 12
    for rank in (0, 1):
        for batch in rows(paired(label, pair, 24, 0, 0), rank=rank, world=2):
            assert (pair[batch[1::2]] == batch[0::2]).all()


def test_every_real_once_meets_all_its_forgeries_in_turn() -> None:
    label = np.array([0, 1, 1, 1] * 8, np.int8)
    pair = np.repeat(np.arange(8) * 4, 4)
    met: dict[int, list[int]] = {}
    for epoch in range(6):
        flat = list(itertools.chain(*rows(paired(label, pair, 4, 0, epoch, every="real"))))
        assert sorted(flat[0::2]) == list(range(0, 32, 4))
        for real, fake in zip(flat[0::2], flat[1::2], strict=True):
            met.setdefault(real, []).append(fake)
    for real, fakes in met.items():
        assert sorted(fakes[:3]) == sorted(fakes[3:]) == [real + 1, real + 2, real + 3]


def test_a_group_is_a_real_crop_and_one_forgery_of_it_by_each_method() -> None:
    label, pair, method = family()
    met: dict[int, list[int]] = {}
    for epoch in range(4):
        lines = np.array(list(itertools.chain(*rows(grouped(label, pair, method, 12, 0, epoch))))).reshape(-1, 4)
        assert len(lines) == len(set(lines[:, 0].tolist())) == 99  # the first is without 9
        assert (label[lines] == [0, 1, 1, 1]).all()
        assert (method[lines[:, 1:]] == [2, 5, 9]).all()
        assert (pair[lines] == lines[:, :1]).all()
        for real, _, five, _ in lines.tolist():
            met.setdefault(real, []).append(five)
    for real, fives in met.items():
        assert sorted(fives[:2]) == sorted(fives[2:]) == [real + 1, real + 4]
    for keys in grouped(label, pair, method, 12, 0, 0).batches():
        assert len({k[1:] for k in keys}) == 3  # one draw a group


def test_draws_are_one_a_row_but_one_a_pair() -> None:
    label, _, _, pair = table()
    draws = [key[1:] for keys in shuffled(100, 10, 7, 3).batches() for key in keys]
    assert len(set(draws)) == 100
    assert {d[:2] for d in draws} == {(7, 3)}
    for keys in paired(label, pair, 24, 0, 0).batches():
        assert [k[1:] for k in keys[0::2]] == [k[1:] for k in keys[1::2]]
        assert len({k[1:] for k in keys}) == 12
    apart = [key[1:] for keys in paired(label, pair, 24, 0, 0, alike=False).batches() for key in keys]
    assert len(set(apart)) == len(apart)


def test_what_cannot_be_planned_is_said() -> None:
    label, method, _, pair = table()
    with pytest.raises(UnmaskError, match="3 rows do not fill one batch of 8: set batch=3 or less"):
        shuffled(3, 8, 0, 0)
    with pytest.raises(UnmaskError, match="there is no row to train on"):
        shuffled(0, 8, 0, 0)
    with pytest.raises(UnmaskError, match="as many of each of 2 classes"):
        by_class(label, 9, 0, 0)
    with pytest.raises(UnmaskError, match="half real"):
        by_method(np.ones(50, np.int8), method[:50], 8, 0, 0)
    with pytest.raises(UnmaskError, match="0 pairs"):
        paired(label, np.full(len(label), -1), 8, 0, 0)
    with pytest.raises(UnmaskError, match="99 groups of a real crop and 3 forgeries do not fill a batch of 10"):
        grouped(*family(), 10, 0, 0)
    with pytest.raises(UnmaskError, match="0 groups of a real crop and 0 forgeries"):
        grouped(np.zeros(9, np.int8), np.full(9, -1), np.zeros(9, int), 8, 0, 0)
    with pytest.raises(UnmaskError, match="3 groups cannot be shared by 2"):
        list(grouped(*family(), 12, 0, 0).batches(world=2))
    with pytest.raises(UnmaskError, match="cannot be shared by 5 processes"):
        list(shuffled(100, 24, 0, 0).batches(world=5))
    with pytest.raises(UnmaskError, match="12 pairs cannot be shared by 8"):
        list(paired(label, pair, 24, 0, 0).batches(world=8))


def test_each_batch_has_p_classes_of_k_rows_side_by_side() -> None:
    label = (
        np.repeat(np.arange(30), np.arange(30) + 1) - 1
    )  # of class k - 1 there are k + 1 rows; the first is no class
    plan = pk(label, 4, 24, 0, 0)
    lines = plan.units
    assert lines.shape == (len(plan) * 6, 4)
    assert (label[lines] == label[lines[:, :1]]).all()
    seen = Counter(lines.ravel().tolist())
    assert max(seen.values()) <= 3  # of two rows, a line of four has each twice
    assert not {int(i) for i in np.flatnonzero(label < 0)} & set(seen)
    large = [line for line in lines.tolist() if label[line[0]] > 8]
    assert all(len(set(line)) == 4 for line in large if (label == label[line[0]]).sum() % 4 == 0)
    assert not np.array_equal(lines, pk(label, 4, 24, 0, 1).units)
    halves = [rows(plan, rank=rank, world=2) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(b) for b in rows(plan)]
    places = {key[3] for keys in plan.batches() for key in keys}
    assert len(places) == lines.size  # each row has a draw of its own


def test_classes_of_one_row_make_no_line_and_wrong_batches_are_refused() -> None:
    assert set(pk(np.array([0, 1, 1, 2, 2, 2, 2]), 2, 4, 0, 0).units.ravel().tolist()) <= {1, 2, 3, 4, 5, 6}
    with pytest.raises(UnmaskError, match="multiple"):
        pk(np.zeros(8, np.int64), 3, 8, 0, 0)
    with pytest.raises(UnmaskError, match="no row"):
        pk(np.arange(8), 2, 4, 0, 0)
