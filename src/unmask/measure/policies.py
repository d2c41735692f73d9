"""Where the line between real and fake is drawn, and for whom: thresholds out of validation rows, by policy.

half       P(fake) >= 0.5 as the bundle's calibration says it: no threshold is chosen here
one        one for all: of all validation reals at most a share `at` is called fake
worst-fpr  one for all: of no subgroup's validation reals more than a share `at` is called fake
equal-fpr  one for each subgroup, with the same promise to each
equal-tpr  one for each subgroup, that finds the share of its validation fakes that "one" finds of all
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.inputs import checked

Policy = Literal["half", "one", "worst-fpr", "equal-fpr", "equal-tpr"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
UNKNOWN = ""


@dataclass(frozen=True)
class Limits:
    """Thresholds of the logit: for those without one of their own, and by subgroup. At or above = fake."""

    common: float
    each: dict[str, float] = field(default_factory=dict)

    def of(self, subgroup: ArrayLike) -> NDArray[np.float64]:
        """(N,) names -> (N,) thresholds."""
        return np.array([self.each.get(str(name), self.common) for name in np.asarray(subgroup)], np.float64)


def limits(
    policy: Policy, subgroup: ArrayLike, label: ArrayLike, score: ArrayLike, groups: ArrayLike, at: float, least: int
) -> Limits:
    """Thresholds of every policy but "half", from validation rows (N,).

    Args:
        subgroup: names; "" = not known.
        at: share of reals that may be called fake.
        least: leakage groups that a subgroup needs for a say or a threshold of its own.
    Raises: UnmaskError without reals, for "equal-tpr" without fakes.
    """
    y, s = checked(label, score)
    names, own = np.asarray(subgroup).astype(str), np.asarray(groups).astype(str)

    def large(of: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        """The subgroups with enough of these rows, and those rows of theirs."""
        parts = {str(n): of & (names == n) for n in np.unique(names) if n != UNKNOWN}
        return {n: rows for n, rows in parts.items() if len(np.unique(own[rows])) >= least}

    one = false_alarm_limit(s[~y], at)
    if policy == "equal-tpr":
        found = float((s[y] >= one).mean()) if y.any() else 0.0
        if not y.any():
            raise InputError("equal-tpr needs forged validation rows: there are none")
        return Limits(one, {n: found_limit(s[rows], found) for n, rows in large(y).items()})
    each = {n: false_alarm_limit(s[rows], at) for n, rows in large(~y).items()}
    if policy == "worst-fpr":
        return Limits(max([one, *each.values()]))
    return Limits(one, each if policy == "equal-fpr" else {})


def false_alarm_limit(real: ArrayLike, at: float) -> float:
    """The lowest threshold at or above which at most a share `at` of these reals' scores lies.

    Raises: UnmaskError without reals.
    """
    s = -np.sort(-np.asarray(real, np.float64))
    if not len(s):
        raise InputError("a threshold for false alarms needs real validation rows: there are none")
    allowed = int(at * len(s) + 1e-9)
    return float(np.nextafter(s[allowed], np.inf)) if allowed < len(s) else float("-inf")


def found_limit(fake: ArrayLike, share: float) -> float:
    """The highest threshold at or above which at least a share of these fakes' scores lies; infinity for a share of 0.

    Raises: UnmaskError without fakes.
    """
    s = -np.sort(-np.asarray(fake, np.float64))
    if not len(s):
        raise InputError("a threshold for found fakes needs forged validation rows: there are none")
    wanted = int(np.ceil(share * len(s) - 1e-9))
    return float(s[wanted - 1]) if wanted else float("inf")
