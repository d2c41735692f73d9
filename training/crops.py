"""Faces cut out once: wide aligned crops in one memory-mapped array, so that training never decodes an image twice.

A crop here is wider than any detector wants (`WIDE`), so that augmentation can turn, shift and scale it with one warp
and still see image. For real faces a dense mesh of 468 points comes with it: it outlines what self-blending pastes.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.collection import Entry
from unmask.faces import FaceDetector, crop
from unmask.forging.landmarkers import Mesh
from unmask.media import MediaError, open_media
from unmask.types import Face, Floats, Frame, InputSpec, Pixels

WIDE = InputSpec(size=256, margin=1.25)


@dataclass(frozen=True)
class Crops:
    """Crops of rows: `pixels` (N, 256, 256, 3) uint8 on disk, `mesh` (N, 468, 2) in crop pixels, NaN where unknown."""

    rows: tuple[Entry, ...]
    pixels: Pixels
    mesh: Floats

    def where(self, keep: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.flatnonzero(keep)


def prepare(root: Path, wanted: Sequence[Entry], out: Path, face_detector: FaceDetector, mesh: Path) -> Crops:
    """Cut a crop for each still of `wanted`, or read back what an earlier run has cut from the same rows.

    Args:
        mesh: MediaPipe's `face_landmark.tflite` (192 x 192, 468 points).
    Raises:
        OSError: `out` cannot be written.
    """
    key = {
        "rows": [r.path for r in wanted],
        "face_detector": face_detector.sha256,
        "spec": WIDE.model_dump(mode="json"),
    }
    if (out / "done.json").is_file() and json.loads((out / "done.json").read_text()) == key:
        return read(out)
    out.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(
        out / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(wanted), WIDE.size, WIDE.size, 3)
    )
    points = np.full((len(wanted), 468, 2), np.nan, np.float32)
    outline = Mesh(mesh)
    kept: list[Entry] = []

    def load(row: Entry) -> tuple[Entry, Pixels | None]:
        return row, largest(root / row.path, face_detector)

    with ThreadPoolExecutor(2) as pool:
        for n, (row, face) in enumerate(pool.map(load, wanted)):
            if n % 1000 == 0:
                print(f"\rcrops {n}/{len(wanted)}", end="", file=sys.stderr, flush=True)
            if face is None:
                continue
            pixels[len(kept)] = face
            if not row.label:
                points[len(kept)] = outline(face)
            kept.append(row)
    pixels.flush()
    np.save(out / "mesh.npy", points[: len(kept)])
    with (out / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Entry)])
        writer.writeheader()
        writer.writerows(asdict(r) for r in kept)
    (out / "done.json").write_text(json.dumps(key))
    print(f"\rcrops: {len(kept)} cut, {len(wanted) - len(kept)} images without a face left out", file=sys.stderr)
    return read(out)


def read(out: Path) -> Crops:
    """What `prepare` wrote to `out`."""
    with (out / "rows.csv").open(newline="") as file:
        rows = tuple(
            Entry(**{**r, "label": int(r["label"]), "real": r["real"] or None})  # type: ignore[arg-type]
            for r in csv.DictReader(file)
        )
    return Crops(rows, np.load(out / "pixels.npy", mmap_mode="r")[: len(rows)], np.load(out / "mesh.npy"))


def largest(path: Path, face_detector: FaceDetector) -> Pixels | None:
    """The wide crop of the largest face of a still; None without a face or an image."""
    try:
        frame = next(open_media(path).frames(1))
    except MediaError:
        return None
    if not isinstance(frame, Frame):
        return None
    faces: list[Face] = face_detector.find(frame.image)
    return crop(frame.image, max(faces, key=lambda f: f.side), WIDE).image if faces else None
