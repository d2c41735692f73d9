"""Which rows make a batch: once each, as many of each class, as many of each method, or a real face and its forgery.

A sampler plans a whole epoch from (seed, epoch) alone. So training goes on in the middle of an epoch from the number of
the step, and several processes share one plan: each takes its part of every batch.

All plans share one idea. The rows of an epoch are sorted by what should be spread evenly (class, method, leakage
group; chance decides within) and dealt to the batches like cards. Then any run of the sorted rows, a class, a method in
it, a group in that, has in each batch its fair share: the floor or the ceiling of its rows over the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.errors import RecipeError

Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Plan:
    """One epoch: `steps` batches of rows, the same for any number of processes.

    Attributes:
        units: (M, k) rows, batch after batch; what stands in a line (a pair) is never divided.
        ends: (steps,) where in `units` each batch ends.
        alike: whether the rows of a line share one draw of the transform.
    """

    units: NDArray[np.int64]
    ends: NDArray[np.int64]
    seed: int
    epoch: int
    alike: bool = True

    def __len__(self) -> int:
        return len(self.ends)

    def batches(self, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[list[tuple[int, int, int, int]]]:
        """The part of one process in each batch from step `start` on, as `FaceSet` keys: row, seed, epoch, place.

        The place in the epoch seeds the transform's draw.
        Raises: UnmaskError for a batch that cannot be shared evenly.
        """
        lows = np.concatenate([[0], self.ends[:-1]])
        for low, high in zip(lows[start:].tolist(), self.ends[start:].tolist(), strict=True):
            if (high - low) % world:
                lines = {1: "rows", 2: "pairs"}.get(self.units.shape[1], "groups")
                raise RecipeError(
                    f"a batch of {high - low} {lines} cannot be shared by {world} processes: choose a multiple of it"
                )
            wide = 1 if self.alike else self.units.shape[1]
            yield [
                (int(row), self.seed, self.epoch, place * wide + n % wide)
                for place in range(low + rank, high, world)
                for n, row in enumerate(self.units[place])
            ]


def shuffled(n: int, batch: int, seed: int, epoch: int, *, group: Ints | None = None, keep_last: bool = False) -> Plan:
    """Each of `n` rows once; what is left over when the rows are no multiple of `batch` stays out by chance.

    Args:
        group: (N,) leakage groups, of which each has in a batch no more than its fair share.
        keep_last: rather make one batch more, and all of them a little smaller, than leave rows out.
    """
    rng = _rng(seed, epoch)
    rows = rng.permutation(n)
    steps = -(-n // batch) if keep_last else n // batch
    _enough(n, batch, steps)
    return _dealt(rows if keep_last else rows[: steps * batch], steps, rng, seed, epoch, group)


def by_class(
    label: Ints, batch: int, seed: int, epoch: int, *, group: Ints | None = None, steps: int | None = None
) -> Plan:
    """As many rows of each class in every batch. Rows are seen equally often within their class, give or take once.

    Args:
        label: (N,) class of each row; rows below 0 are left out.
        steps: of the epoch; None = as many as N rows fill.
    Raises: UnmaskError for a batch that is no multiple of the classes.
    """
    classes = np.unique(label[label >= 0])
    labelled = int((label >= 0).sum())
    steps = _steps(labelled, batch, steps)
    _enough(labelled, batch, steps)
    if not len(classes) or batch % len(classes):
        raise RecipeError(f"a batch of {batch} cannot hold as many of each of {len(classes)} classes")
    rng = _rng(seed, epoch)
    count = steps * batch // len(classes)
    rows = np.concatenate([_walk(np.flatnonzero(label == k), count, rng) for k in classes])
    return _dealt(rows, steps, rng, seed, epoch, label, *([] if group is None else [group]))


def by_method(
    label: Ints,
    method: Ints,
    batch: int,
    seed: int,
    epoch: int,
    *,
    group: Ints | None = None,
    steps: int | None = None,
) -> Plan:
    """Half of every batch real, the other half forged, in which each method has as many rows, give or take one.

    Args:
        label: (N,), 1 = fake, 0 = real; rows below 0 are left out.
        method: (N,) what made each row; that of real ones is not looked at.
    Raises: UnmaskError for an odd batch, and where there are no real or no forged rows.
    """
    real, fake = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
    if batch % 2 or not len(real) or not len(fake):
        raise RecipeError(f"a batch of {batch} cannot be half real ({len(real)} rows) and half forged ({len(fake)})")
    steps = _steps(len(real) + len(fake), batch, steps)
    _enough(len(real) + len(fake), batch, steps)
    rng = _rng(seed, epoch)
    half = steps * batch // 2
    methods = rng.permutation(np.unique(method[fake]))
    counts = np.full(len(methods), half // len(methods)) + (np.arange(len(methods)) < half % len(methods))
    forged = [_walk(fake[method[fake] == m], int(n), rng) for m, n in zip(methods, counts, strict=True)]
    rows = np.concatenate([_walk(real, half, rng), *forged])
    within = np.where(label == 1, method, -1)
    return _dealt(rows, steps, rng, seed, epoch, label, within, *([] if group is None else [group]))


def half_labelled(label: Ints, batch: int, seed: int, epoch: int) -> Plan:
    """Half of every batch labelled, as many rows of each class give or take one, and half of it unlabelled.

    Args:
        label: (N,) class of each row, -1 = unlabelled.
    Raises: UnmaskError for an odd batch, and where there are no rows of one kind.
    """
    named, unnamed = np.flatnonzero(label >= 0), np.flatnonzero(label < 0)
    if batch % 2 or not len(named) or not len(unnamed):
        raise RecipeError(
            f"a batch of {batch} cannot be half labelled ({len(named)} rows) and half unlabelled ({len(unnamed)})"
        )
    steps = len(label) // batch
    _enough(len(label), batch, steps)
    rng = _rng(seed, epoch)
    half, classes = steps * batch // 2, rng.permutation(np.unique(label[named]))
    counts = np.full(len(classes), half // len(classes)) + (np.arange(len(classes)) < half % len(classes))
    of_classes = [_walk(named[label[named] == k], int(n), rng) for k, n in zip(classes, counts, strict=True)]
    rows = np.concatenate([*of_classes, _walk(unnamed, half, rng)])
    return _dealt(rows, steps, rng, seed, epoch, (label >= 0).astype(np.int64), label)


def paired(
    label: Ints,
    pair: Ints,
    batch: int,
    seed: int,
    epoch: int,
    *,
    every: str = "fake",
    alike: bool = True,
    method: Ints | None = None,
    group: Ints | None = None,
    orphans: Ints | None = None,
) -> Plan:
    """Pairs of a real crop and a forgery of it, side by side: real, fake, real, fake. Other rows are left out.

    Args:
        label: (N,), 1 = fake, 0 = real.
        pair: (N,) as `loader.partners` gives it: the index of the real crop.
        every: "fake" = each forgery once, its real crop as often as it was forged; "real" = each real crop once, with
            another of its forgeries in each epoch until all of them had their turn.
        alike: both of a pair are changed by the same draw, so that the forgery is all that tells them apart.
        method: (N,) what made each row, spread evenly over the batches.
        orphans: (N,) data set of each row: a forgery whose original is not there stands beside another real crop of its
            data set, or of any where that has none, a new one in each epoch; None = it is left out.
    Raises: UnmaskError for an odd batch, for orphans in epochs by real crops, and where there are fewer pairs than fill
        a batch.
    """
    if orphans is not None:
        if every == "real":
            raise RecipeError("orphans have no real crop whose turn they could be: leave out every, or orphans")
        pair = _adopted(label, pair, orphans, np.random.default_rng((seed, 1, epoch)))
    fakes: Ints = np.flatnonzero((label == 1) & (pair >= 0))
    if every == "real":
        fakes = _in_turn(fakes, pair[fakes], seed, epoch)
    elif every != "fake":
        raise RecipeError(f'every is "fake" or "real", not {every!r}')
    steps = len(fakes) * 2 // batch
    if batch % 2 or not steps:
        raise RecipeError(
            f"{len(fakes)} pairs do not fill a batch of {batch}: it must be even, and no larger than that"
        )
    rng = _rng(seed, epoch)
    chosen = rng.permutation(fakes)[: steps * batch // 2]
    plan = _dealt(chosen, steps, rng, seed, epoch, *(c for c in (method, group) if c is not None))
    return Plan(np.concatenate([pair[plan.units], plan.units], 1).astype(np.int64), plan.ends, seed, epoch, alike)


def grouped(
    label: Ints,
    pair: Ints,
    method: Ints,
    batch: int,
    seed: int,
    epoch: int,
    *,
    alike: bool = True,
    group: Ints | None = None,
) -> Plan:
    """Groups of a real crop and one forgery of it by each method, side by side in the order of the methods' codes.

    Each real crop that every method has forged comes once in an epoch, where a method forged it more than once with
    another of those in each epoch until all had their turn; other rows are left out.

    Args:
        label, pair, method, alike, group: as in `paired`.
    Raises: UnmaskError for a batch that is no multiple of a group, and where there are fewer groups than fill one.
    """
    fakes = np.flatnonzero((label == 1) & (pair >= 0))
    by_method = [fakes[method[fakes] == m] for m in np.unique(method[fakes])]
    turns = [_in_turn(of, pair[of], seed, epoch) for of in by_method]
    able = np.arange(len(label))
    for turn in turns:
        able = np.intersect1d(able, pair[turn])
    width = 1 + len(turns)
    steps = len(able) * width // batch if turns else 0
    if batch % width or not steps:
        raise RecipeError(
            f"{len(able) if turns else 0} groups of a real crop and {len(turns)} forgeries do not fill a batch of "
            f"{batch}: it must be a multiple of {width}, and no larger than that"
        )
    rng = _rng(seed, epoch)
    lines = np.column_stack([able, *(turn[np.searchsorted(pair[turn], able)] for turn in turns)])
    chosen = rng.permutation(len(able))[: steps * batch // width]
    plan = _dealt(chosen, steps, rng, seed, epoch, None if group is None else group[able])
    return Plan(lines[plan.units[:, 0]].astype(np.int64), plan.ends, seed, epoch, alike)


def pk(label: Ints, per_class: int, batch: int, seed: int, epoch: int, *, alike: bool = False) -> Plan:
    """P classes with K rows each, side by side: what triplets need (PK batches, Hermans et al., arXiv 1703.07737).

    Each row comes once in an epoch. What is left over of a class when its rows are no multiple of K is filled up with
    others of them; a class with one row is left out. Two lines of a class may meet in a batch.

    Args:
        label: (N,) class of each row, such as an identity; rows below 0 are left out.
        per_class: K, two at least.
        alike: whether the rows of a line share one draw of the transform.
    Raises: UnmaskError for a batch that is no multiple of K, and too few rows to fill one.
    """
    if per_class < 2 or batch % per_class:
        raise RecipeError(f"a batch of {batch} cannot hold classes of {per_class} rows: take a multiple of 2 or more")
    rng, lines = _rng(seed, epoch), []
    for k in np.unique(label[label >= 0]):
        of = np.flatnonzero(label == k)
        if len(of) > 1:
            lines.append(_walk(of, -(-len(of) // per_class) * per_class, rng).reshape(-1, per_class))
    found = np.concatenate(lines) if lines else np.empty((0, per_class), np.int64)
    steps = len(found) * per_class // batch
    _enough(len(found) * per_class, batch, steps)
    chosen = rng.permutation(len(found))[: steps * batch // per_class]
    ends = np.arange(1, steps + 1) * (batch // per_class)
    return Plan(found[chosen].astype(np.int64), ends, seed, epoch, alike)


def _enough(rows: int, batch: int, steps: int) -> None:
    """Raises: UnmaskError where so many rows make no batch at all."""
    if not rows:
        raise RecipeError("there is no row to train on: look at the splits and labels with `unmask data show`")
    if steps < 1:
        raise RecipeError(f"{rows} rows do not fill one batch of {batch}: set batch={rows} or less")


def _dealt(rows: Ints, steps: int, rng: np.random.Generator, seed: int, epoch: int, *columns: Ints | None) -> Plan:
    """Rows in `steps` batches, each run of equal `columns` (over all rows, the first one outermost) spread evenly."""
    chance = rng.permutation(len(rows))
    keys = [_mixed(column[rows], rng) for column in columns if column is not None]
    order = rows[np.lexsort((chance, *reversed(keys)))]
    dealt = [order[n::steps] for n in rng.permutation(steps)]
    ends = np.cumsum([len(b) for b in dealt])
    return Plan(np.concatenate(dealt)[:, None].astype(np.int64), ends, seed, epoch)


def _mixed(code: Ints, rng: np.random.Generator) -> Ints:
    """The same codes under other numbers, so that their order is chance."""
    names, plain = np.unique(code, return_inverse=True)
    mixed: Ints = rng.permutation(len(names))[plain]
    return mixed


def _walk(pool: Ints, count: int, rng: np.random.Generator) -> Ints:
    """`count` of a pool: whole shuffles of it, one after another."""
    turns = -(-count // len(pool))
    return np.concatenate([rng.permutation(pool) for _ in range(turns)])[:count] if turns else pool[:0]


def _adopted(label: Ints, pair: Ints, kin: Ints, rng: np.random.Generator) -> Ints:
    """`pair`, in which each forgery has a real crop beside it, as long as there is any."""
    pair, real = pair.copy(), np.flatnonzero(label == 0)
    lone = np.flatnonzero((label == 1) & (pair < 0))
    for code in np.unique(kin[lone]):
        of, near = lone[kin[lone] == code], real[kin[real] == code]
        pool = near if len(near) else real
        if len(pool):
            pair[of] = _walk(pool, len(of), rng)
    return pair


def _in_turn(fakes: Ints, real: Ints, seed: int, epoch: int) -> Ints:
    """One fake for each real, the next one in each epoch, in an order that the seed alone decides."""
    chance = np.random.default_rng((seed, 1)).permutation(len(fakes))
    order = np.lexsort((chance, real))
    _, first, count = np.unique(real[order], return_index=True, return_counts=True)
    turn: Ints = fakes[order[first + epoch % count]]
    return turn


def _steps(n: int, batch: int, steps: int | None) -> int:
    return n // batch if steps is None else steps


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((seed, 0, epoch))
