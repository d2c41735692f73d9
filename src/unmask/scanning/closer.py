"""Where to look again. Evenly spaced frames of a long video lie seconds apart: a face that few of them show may be a
false detection, or a passage of its own that was cut in. Frames less than a second away tell the two apart."""

from __future__ import annotations

from collections.abc import Sequence

from unmask.scanning.checks import enough
from unmask.scanning.person import Seen

APART = 1.0  # seconds: frames that lie closer are each other's second look already
SPOTS = 4  # moments that are looked at again: with 12 frames each, a second scan and a half at most
# Eight within a second are as many as a face must be seen in (`checks.seldom`); the others show how far it goes.
OFFSETS = (-3.0, -1.5, -0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8, 1.5, 3.0)


def moments(people: Sequence[Sequence[Seen]], frames: int, interval: float, seconds: float) -> list[float]:
    """Times at which to look again, in order; none where the frames lie close to each other.

    Args:
        people: sightings of each face that was followed.
        frames: that were looked at, `interval` seconds apart.
    """
    if interval <= APART:
        return []
    seldom = [max(one, key=lambda s: s.margin) for one in people if len(one) < enough(frames)]
    spots: list[float] = []
    for sighting in sorted(seldom, key=lambda s: -s.margin):  # the most forged first
        if len(spots) < SPOTS and sighting.face.t not in spots:
            spots.append(sighting.face.t)
    reach = interval / 2  # beyond, the next frame has looked
    return sorted({t + d for t in spots for d in OFFSETS if abs(d) <= reach and 0 <= t + d <= seconds})


def alone(t: float, times: Sequence[float]) -> bool:
    """Whether no other frame less than `APART` seconds from `t` was looked at."""
    return not any(0 < abs(other - t) < APART for other in times)
