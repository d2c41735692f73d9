"""Video-level AUROC from frame scores, and its bootstrap, beside the loops that the field uses.

    python benchmarks/measure.py [--frames 10000000] [--videos 300000] [--rounds 1000]

The loop appends each frame's score to a dictionary under its full id, takes means and calls scikit-learn. The plain
bootstrap gathers the drawn videos and calls scikit-learn; a few of its rounds are timed and multiplied.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from unmask.measure.interval import bootstrap
from unmask.measure.metrics import auroc
from unmask.measure.pooling import combined, pool

T = TypeVar("T")
Column = NDArray[np.int64]


def main() -> None:
    arguments = parse()
    label, score, ids = made(arguments.frames, arguments.videos)
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{len(label):,} frames, {arguments.videos:,} videos, {load}; seconds of processor time")
    slow, expected = timed(lambda: loop(label, score, ids))
    best, pooled = min((timed(lambda: pool(label, score, ids)) for _ in range(3)), key=lambda run: run[0])
    ranked, found = timed(lambda: auroc(pooled.label, pooled.score))
    ids_only, _ = timed(lambda: combined(ids))
    assert abs(found - expected) < 1e-9, (found, expected)
    print(f"dictionary, mean, scikit-learn  {slow:8.2f} s   AUROC {expected:.6f}")
    print(
        f"pool + auroc                    {best + ranked:8.2f} s   AUROC {found:.6f}   {slow / (best + ranked):.0f} x"
    )
    print(f"  of which: ids to codes {ids_only:.2f}, checks and means {best - ids_only:.2f}, ranking {ranked:.2f}")
    groups = np.arange(len(pooled.score))
    ours, interval = timed(lambda: bootstrap(auroc, pooled.label, pooled.score, groups, arguments.rounds))
    few = 5
    some, _ = timed(lambda: plain(pooled.label, pooled.score, few))
    theirs = some / few * arguments.rounds
    print(f"bootstrap, {arguments.rounds} rounds          {ours:8.2f} s   {interval.low:.6f} to {interval.high:.6f}")
    print(f"plain loop, from {few} rounds        {theirs:8.2f} s   (extrapolated)   {theirs / ours:.0f} x")


def made(frames: int, videos: int) -> tuple[Column, NDArray[np.float64], tuple[Column, ...]]:
    """Frames of videos in random order: label, score, and the columns dataset, method, compression, video."""
    rng = np.random.default_rng(0)
    video = rng.permutation(np.arange(frames) % videos)
    label = video % 2
    score = rng.normal(size=frames) + rng.normal(size=videos)[video] + label
    return label, score, (video % 7, video % 5, video % 3, video)


def loop(label: Column, score: NDArray[np.float64], ids: tuple[Column, ...]) -> float:
    scores, labels = defaultdict(list), {}
    for y, s, key in zip(label.tolist(), score.tolist(), zip(*(c.tolist() for c in ids), strict=True), strict=True):
        scores[key].append(s)
        labels[key] = y
    return float(roc_auc_score([labels[k] for k in scores], [np.mean(v) for v in scores.values()]))


def plain(label: NDArray[np.bool_], score: NDArray[np.float64], rounds: int) -> list[float]:
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(label), size=len(label)) for _ in range(rounds))
    return [float(roc_auc_score(label[rows], score[rows])) for rows in drawn]


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Processor time, which on a busy machine says more than the clock: all of this runs in one thread."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python benchmarks/measure.py", description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--videos", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
