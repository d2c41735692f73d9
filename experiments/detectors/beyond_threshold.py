"""How many crops of each data set lie beyond a bundle's `ood_threshold`: does it notice what it was not made with?

    python experiments/detectors/beyond_threshold.py embedded FACES.parquet [--most 150]

Prints a line for each data set, split and class with eight crops or more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import unmask
from unmask.bench.scoring import chosen, crops_of, inputs_of_all
from unmask.data.manifest import Manifest

FEWEST = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--most", type=int, default=150, help="crops of each set, split and class")
    args = parser.parse_args()
    scorer, manifest = unmask.load(args.bundle), Manifest(args.faces)
    limit, columns = scorer.card.ood_threshold, ["dataset", "split", "label"]
    if limit is None:
        raise SystemExit(f"{args.bundle} has no threshold")
    table = manifest.table(columns).to_pylist()
    for key in sorted({tuple(row[c] for c in columns) for row in table if row["split"] in ("val", "test")}):
        at = np.flatnonzero([tuple(row[c] for c in columns) == key for row in table])[: args.most]
        rows = chosen(manifest, lambda t, at=at: np.isin(np.arange(len(t)), at))
        if len(rows) < FEWEST:
            continue
        ready, _ = inputs_of_all(list(crops_of(manifest, rows)), rows, scorer.card.input)
        distance = scorer.read(ready).features_distance
        assert distance is not None
        name, split, label = key
        print(f"{name:28} {split:5} {('real', 'fake')[label]} {len(distance):4} {(distance > limit).mean():.3f}")


if __name__ == "__main__":
    main()
