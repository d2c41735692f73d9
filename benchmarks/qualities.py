"""Do detectors say the same of one face at several qualities? Trained runs beside each other, on held-out people.

    unmask train recipes/qad-tiny.yaml faces.parquet --out qad
    unmask train recipes/qad-tiny.yaml faces.parquet --out plain options.dependence=0 options.perturb=0
    python benchmarks/qualities.py qad plain --faces faces.parquet --dataset dfdc_faces224

For each run and quality: AUROC with its 95 % interval over leakage groups; and, against the crops as they are stored,
Spearman's correlation of the logits and the share of faces on which the decision at margin 0 is another. A detector at
chance that always says the same agrees with itself: read agreement beside AUROC.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from unmask.data.loader import FaceSet, Transform
from unmask.data.manifest import Manifest
from unmask.data.transforms import build
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import auroc
from unmask.tasks.loading import batches
from unmask.train.loop import restore

QUALITIES: dict[str, tuple[str, int]] = {  # a column -> kind and level of unmask.imageops.corruption
    "as stored": ("jpeg", 0),
    "social 2": ("social", 2),
    "social 4": ("social", 4),
    "h264 40": ("h264", 5),
    "webp 20": ("webp", 5),
    "blur 13": ("blur", 3),
}


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    table = Manifest(arguments.faces).table(["dataset", "split", "label", "reason"]).to_pylist()
    fits = [r["dataset"] == arguments.dataset and r["split"] == "test" and r["label"] is not None for r in table]
    print("| run | quality | AUROC | correlation with as stored | other decision |\n|---|---|---|---|---|")
    for run in arguments.runs:
        stored: NDArray[np.float64] | None = None
        for name, margin, label, group in scored(run, arguments.faces, np.array(fits)):
            found = bootstrap(auroc, label, margin, group)
            stored = margin if stored is None else stored
            alike, other = spearmanr(stored, margin).statistic, np.mean((stored > 0) != (margin > 0))
            area = " ".join(f"{100 * v:.1f}" for v in (found.value, found.low, found.high)).split()
            print(f"| {run.name} | {name} | {area[0]} [{area[1]}, {area[2]}] | {alike:.3f} | {100 * other:.1f} % |")


def scored(
    run: Path, faces: Path, where: NDArray[np.bool_]
) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.int8], NDArray[np.int32]]]:
    """For each quality: its name, the logits fake - real of all crops, their labels and groups."""
    detector, _ = restore(run)
    for name, (kind, level) in QUALITIES.items():
        worse: Transform = build([{"damage": {"kind": kind, "level": level}}])
        crops = FaceSet(faces, detector.input, where=where, transform=worse)
        keys = [[(i, 0) for i in range(n, min(n + 64, len(crops)))] for n in range(0, len(crops), 64)]
        with torch.inference_mode():
            logits = torch.cat([detector(b.image).logits for b in batches(crops, keys)]).double()
        yield name, (logits[:, 1] - logits[:, 0]).numpy(), crops.label, crops.group


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python benchmarks/qualities.py", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of `unmask train`")
    parser.add_argument("--faces", type=Path, required=True, help="face manifest")
    parser.add_argument("--dataset", required=True, help="whose test rows are scored")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
