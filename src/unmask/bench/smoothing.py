"""Randomised smoothing of a bundle: its majority vote under Gaussian noise, and how far that vote is certain.

The bundle needs no change and no gradient. A detector that was never trained on noise loses much of its accuracy to it,
which is part of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.bench.red_team_crops import boundary, chosen_rows, cut
from unmask.bundles import Scorer, load
from unmask.bundles.calibration import log_odds
from unmask.data.manifest import Manifest
from unmask.errors import InputError
from unmask.measure.certified import radius
from unmask.measure.interval import Interval, wilson
from unmask.types import Pixels, Plain

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Vote:
    """Of one crop. `fake`: the majority of the first votes; None where it is not certain. `radius`: L2, of 0..1."""

    fake: bool | None
    radius: float


class Certified(Plain):
    """A line of the table: at this L2 radius, the share that is right and certain, with Wilson's interval."""

    radius: float
    share: float
    low: float
    high: float


class Smoothing(Plain):
    """What `unmask eval certify` found."""

    detector: str
    bundle: str
    data: str
    sigma: float
    votes: int
    alpha: float
    crops: int
    plain: float
    abstained: float
    rows: tuple[Certified, ...]


class Smoothed:
    """A bundle that answers with the majority of its votes under noise of `sigma` (of images in 0..1)."""

    def __init__(self, scorer: Scorer, sigma: float, seed: int = 0) -> None:
        if not 0 < sigma < 1:
            raise InputError(f"sigma is the noise's deviation of images in 0..1, as 0.1, not {sigma}")
        self.scorer, self.sigma, self.rng = scorer, sigma, np.random.default_rng(seed)
        self.threshold = boundary(scorer.card)

    def votes(self, crop: Pixels, count: int) -> int:
        """How many of `count` noisy copies of a crop (S, S, 3) are called fake."""
        hits = 0
        for n in range(0, count, 32):
            noise = self.rng.standard_normal((min(32, count - n), *crop.shape), np.float32) * np.float32(
                255 * self.sigma
            )
            noisy = (crop + noise).round().clip(0, 255).astype(np.uint8)
            hits += int((self.fake(noisy)).sum())
        return hits

    def fake(self, crops: Pixels) -> NDArray[np.bool_]:
        """(N, S, S, 3) -> (N,), without noise."""
        return np.asarray(log_odds(self.scorer.logits(crops), self.scorer.card.classes) >= self.threshold)

    def certify(self, crop: Pixels, count: int = 200, first: int = 32, alpha: float = 0.001) -> Vote:
        """The class by `first` votes, its radius by `count` others."""
        fake = 2 * self.votes(crop, first) > first
        hits = self.votes(crop, count)
        far = radius(hits if fake else count - hits, count, self.sigma, alpha)
        return Vote(fake if far > 0 else None, far)


def run(
    bundle: str,
    data: Path,
    *,
    sigma: float = 0.1,
    votes: int = 200,
    alpha: float = 0.001,
    radii: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.4),
    items: int = 32,
    split: str = "test",
    datasets: tuple[str, ...] = (),
    seed: int = 0,
    progress: Progress = lambda what, n: None,
) -> Smoothing:
    """Certified accuracy of a bundle's majority vote.

    Rounding to 8 bits and clipping are part of the smoothed detector, as its votes are: the theorem holds for any
    function of the noisy image.

    Raises: UnmaskError for rows of one class alone, and crops that do not fit.
    """
    scorer, manifest = load(bundle), Manifest(data)
    rows = chosen_rows(manifest, split, datasets, items)
    crops, label = cut(manifest, rows, scorer.card), np.array([r["label"] for r in rows])
    smooth, found = Smoothed(scorer, sigma, seed), []
    for crop in crops:
        found.append(smooth.certify(crop, votes, alpha=alpha))
        progress("certifying", 1)
    right = np.array([v.fake is not None and v.fake == bool(y) for v, y in zip(found, label, strict=True)])
    far = np.array([v.radius for v in found])

    def at(limit: float) -> Interval:
        return wilson(int((right & (far >= limit)).sum()), len(right))

    return Smoothing(
        detector=scorer.card.name,
        bundle=scorer.weights_sha256,
        data=manifest.digest,
        sigma=sigma,
        votes=votes,
        alpha=alpha,
        crops=len(crops),
        plain=float((smooth.fake(crops) == (label == 1)).mean()),
        abstained=float(np.mean([v.fake is None for v in found])),
        rows=tuple(Certified(radius=r, share=(i := at(r)).value, low=i.low, high=i.high) for r in radii),
    )


def markdown(found: Smoothing) -> str:
    """The table and what a reader must know."""
    lines = [f"# Certified accuracy of {found.detector}", "", "| L2 radius | right and certain |", "|---|---|"]
    lines += [f"| {r.radius:g} | {r.share:.3f} [{r.low:.3f}, {r.high:.3f}] |" for r in found.rows]
    lines += [
        "",
        f"- {found.crops} crops; noise of {found.sigma:g}, {found.votes} votes, alpha {found.alpha:g}. Without noise "
        f"{found.plain:.3f} are right; {found.abstained:.3f} of the votes are not certain at any radius.",
        f"- Detector {found.bundle}; data {found.data}.",
        "",
    ]
    return "\n".join(lines)
