"""Scores of the measured images, and of round trips, by tuned weights: SCORES/NAME.csv, as the weights' file is named.

python -m experiments.whole.score MATERIAL A.safetensors B.safetensors C.safetensors --out SCORES
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from experiments.whole.degrade import degrade
from experiments.whole.material import Row, read
from unmask.bundles.distance import ExportWrapper
from unmask.detectors.patch_forensics import PatchForensics
from unmask.exporting.onnx import write_onnx
from unmask.types import Pixels

PART = 8  # tiles that fit into a processor's cache
ROUND_TRIP = "round trip"  # condition of pairs: any that training knows, the same for both halves


@dataclass(frozen=True)
class Scored:
    """One entry for each file and condition; the frames of a video are one."""

    source: NDArray[np.str_]
    label: NDArray[np.int64]
    group: NDArray[np.str_]
    path: NDArray[np.str_]
    condition: NDArray[np.str_]
    score: NDArray[np.float64]  # log-odds, the mean over tiles


def load(weights: Path) -> PatchForensics:
    detector = PatchForensics()
    detector.load_state_dict(load_file(weights))
    return detector.eval()


def score(detector: PatchForensics, tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Log-odds (N,) of tiles (N, 128, 128, 3), by ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(ExportWrapper(detector), path, torch.full((2, 3, *tiles.shape[1:3]), 0.5))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = []
    for start in range(0, len(tiles), PART):
        image = tiles[start : start + PART].transpose(0, 3, 1, 2).astype(np.float32) / 255
        logits = np.asarray(session.run(["logits"], {"image": np.ascontiguousarray(image)})[0], np.float64)
        found.append(logits[:, 1] - logits[:, 0])
    return np.concatenate(found)


def pooled(rows: list[Row], values: NDArray[np.float64]) -> list[tuple[Row, float]]:
    """One entry for each file and condition, the mean over its tiles."""
    at: dict[tuple[str, str, str, str], list[int]] = {}
    for i, row in enumerate(rows):
        at.setdefault((row.source, row.label, row.path, row.note), []).append(i)
    return [(rows[own[0]], float(values[own].mean())) for own in at.values()]


def round_trips(folder: Path) -> Iterator[tuple[Row, Pixels]]:
    """A tile of each half of each pair, both degraded alike. Their notes hold the number of the pair."""
    for row, crop in zip(read(folder / "pairs.csv"), np.load(folder / "pairs.npy", mmap_mode="r"), strict=True):
        yield (
            Row(row.source, row.label, row.method, row.group, f"{row.path}#{row.note}", ROUND_TRIP),
            degrade(np.asarray(crop), int(row.note)),
        )


def read_scores(path: Path) -> Scored:
    with path.open() as file:
        found = list(csv.DictReader(file))
    columns = [np.array([r[k] for r in found]) for k in ("source", "group", "path", "condition")]
    label = np.array([r["label"] == "fake" for r in found], np.int64)
    return Scored(columns[0], label, columns[1], columns[2], columns[3], np.array([float(r["score"]) for r in found]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.whole.score", description=__doc__.splitlines()[0])
    parser.add_argument("material", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows, tiles = read(asked.material / "measure.csv"), np.load(asked.material / "measure.npy", mmap_mode="r")
    trips = list(round_trips(asked.material))
    for weights in asked.weights:
        detector = load(weights)
        found = pooled(rows, score(detector, tiles))
        found += pooled([row for row, _ in trips], score(detector, np.stack([tile for _, tile in trips])))
        with (asked.out / f"{weights.stem}.csv").open("w") as file:
            out = csv.writer(file)
            out.writerow(["source", "label", "group", "path", "condition", "score"])
            for row, value in found:
                out.writerow([row.source, row.label, row.group, row.path, row.note, round(value, 5)])


if __name__ == "__main__":
    main()
