"""Answers with a promised rate of being right: split-conformal prediction sets, for all rows or within categories.

For a new item that is exchangeable with the n it was fitted on, its true class is in the set with probability at least
`level`; within each category when categories are given (Mondrian). Vovk, Gammerman and Shafer 2005. Other data, e.g.
another forgery method, are not exchangeable: there the promise is void, and `coverage` shows by how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unmask.errors import InputError
from unmask.measure.inputs import Bools, checked, labels, numbers, same_length
from unmask.measure.interval import Interval, clopper_pearson

ALL = "all"


@dataclass(frozen=True)
class Conformal:
    """The largest strangeness that each category's sets allow; infinite where a category is too small for the promise.

    The strangeness of an answer is the logit against it: margin for "real", -margin for "fake".
    """

    level: float
    categories: tuple[str, ...]
    limit: tuple[float, ...]

    @classmethod
    def fit(
        cls, margin: ArrayLike, label: ArrayLike, category: ArrayLike | None = None, level: float = 0.9
    ) -> Conformal:
        """Per category the ceil((n + 1) level)-th smallest strangeness of the true class.

        Args:
            margin: (N,) logit(fake) - logit(real), one row for each exchangeable item (pool frames first).
            category: (N,) groups for a promise within each; also the label itself (class-conditional). None = one.

        Raises: UnmaskError for unusable rows or a level outside 0..1.
        """
        if not 0 < level < 1:
            raise InputError(f"a level of {level:g} promises nothing: choose one between 0 and 1")
        y, x = checked(label, margin)
        strange = np.where(y, -x, x)
        kind = _categories(category, len(x))
        names = np.unique(kind)
        limits = []
        for name in names:
            some = np.sort(strange[kind == name])
            rank = int(np.ceil((len(some) + 1) * level - 1e-12))
            limits.append(float(some[rank - 1]) if rank <= len(some) else float("inf"))
        return cls(level, tuple(map(str, names)), tuple(limits))

    def __call__(self, margin: ArrayLike, category: ArrayLike | None = None) -> Bools:
        """(N, 2): whether "real" and "fake" are in each row's set. Both = cannot tell; neither = unlike either."""
        x = numbers(margin, "margin")
        kind = _categories(category, len(x))
        known = np.array(self.categories)
        if missing := sorted(set(kind.tolist()) - set(self.categories)):
            raise InputError(f"no limit was fitted for {missing[0]!r}: fit on data that hold every category")
        limit = np.array(self.limit)[np.searchsorted(known, kind)] if len(x) else np.zeros(0)
        return np.stack([x <= limit, -x <= limit], 1)


@dataclass(frozen=True)
class Coverage:
    """How often the true class was in the set, with the exact interval of the rate, and how large sets were."""

    group: str
    rate: Interval
    both: float
    neither: float


def coverage(label: ArrayLike, sets: Bools, group: ArrayLike | None = None) -> tuple[Coverage, ...]:
    """Coverage over all rows, then within each group."""
    y = labels(label)
    same_length(label=y, sets=sets)
    kind, hit, size = _categories(group, len(y)), sets[np.arange(len(y)), y.astype(np.int64)], sets.sum(1)
    parts = [(ALL, np.ones(len(y), bool))]
    if group is not None:
        parts += [(str(g), kind == g) for g in np.unique(kind)]
    return tuple(
        Coverage(
            name,
            clopper_pearson(int(hit[part].sum()), int(part.sum())),
            float((size[part] == 2).mean()) if part.any() else float("nan"),
            float((size[part] == 0).mean()) if part.any() else float("nan"),
        )
        for name, part in parts
    )


def _categories(category: ArrayLike | None, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.str_]]:
    kind = np.full(n, ALL) if category is None else np.asarray(category).astype(str)
    same_length(margin=np.zeros(n), category=kind)
    return kind
