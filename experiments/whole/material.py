"""Crops to tune on and tiles to measure on, from the files of MEDIA.csv.

    python -m experiments.whole.material MEDIA.csv --out MATERIAL

A group belongs to the training or to the measured part by its hash. Files with a short side above 1024 pixels are
reduced to it; training keeps crops of 256 pixels (two of large files), measuring the centre 512 in three conditions.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from experiments.whole.degrade import CONDITIONS, SIDE
from experiments.whole.sources import MEASURED
from unmask.tiling import reduced, tiles
from unmask.types import Pixels, UnmaskError

CROP, LONGEST, LEAST = 256, 1024, 200
MOMENTS = (0.15, 0.4, 0.65, 0.9)  # of a video, of which a frame is taken
MOST, MEASURED_MOST = 800, 100  # files of a source


@dataclass(frozen=True)
class Row:
    source: str
    label: str
    method: str
    group: str
    path: str
    note: str = ""  # of a tile its condition, of a crop its pair


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.whole.material", description=__doc__.splitlines()[0])
    parser.add_argument("media", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    train: list[tuple[Row, Pixels]] = []
    measure: list[tuple[Row, Pixels]] = []
    by_source: dict[str, list[Row]] = {}
    for row in read(asked.media):
        by_source.setdefault(row.source, []).append(row)
    for source, found in sorted(by_source.items()):
        count = 0
        for row in sorted(found, key=lambda r: unit(r.path))[:MOST]:
            held = source in MEASURED or unit(row.group + "fold") < 0.25
            if held and source not in MEASURED and count >= MEASURED_MOST:
                continue
            for image in images(Path(row.path)):
                count += held
                (measure if held else train).extend(_measured(row, image) if held else _crops(row, image, rng))
        print(f"{source}: {len(found)} files, {count} measured", flush=True)
    write(asked.out / "train", train)
    write(asked.out / "measure", measure)


def read(path: Path) -> list[Row]:
    """Raises: UnmaskError for a table without the columns."""
    with path.open() as file:
        table = csv.DictReader(file)
        missing = {f.name for f in fields(Row)} - {"note"} - set(table.fieldnames or ())
        if missing:
            raise UnmaskError(f"{path} has no column {', '.join(sorted(missing))}")
        return [Row(r["source"], r["label"], r["method"], r["group"], r["path"], r.get("note") or "") for r in table]


def write(stem: Path, rows: Sequence[tuple[Row, Pixels]]) -> None:
    """STEM.npy, and STEM.csv with a line for each image in it."""
    np.save(stem.with_suffix(".npy"), np.stack([image for _, image in rows]))
    with stem.with_suffix(".csv").open("w") as file:
        out = csv.writer(file)
        out.writerow([f.name for f in fields(Row)])
        out.writerows(astuple(row) for row, _ in rows)


def unit(text: str) -> float:
    """A number in 0..1 that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def images(path: Path) -> Iterator[Pixels]:
    """The image of a file, or four frames of a video; none of a file that cannot be read."""
    if path.suffix == ".mp4":
        video = cv2.VideoCapture(str(path))
        total = video.get(cv2.CAP_PROP_FRAME_COUNT)
        for moment in MOMENTS:
            video.set(cv2.CAP_PROP_POS_FRAMES, int(total * moment))
            _, image = video.read()
            if image is not None:
                yield reduced(np.ascontiguousarray(image[..., ::-1]), LONGEST)
    elif (image := cv2.imread(str(path), cv2.IMREAD_COLOR)) is not None:
        yield reduced(np.ascontiguousarray(image[..., ::-1]), LONGEST)


def _crops(row: Row, image: Pixels, rng: np.random.Generator) -> Iterator[tuple[Row, Pixels]]:
    if min(image.shape[:2]) < LEAST:
        return
    for _ in range(2 if min(image.shape[:2]) >= 2 * CROP else 1):
        y, x = (int(rng.integers(0, max(1, side - CROP + 1))) for side in image.shape[:2])
        part = image[y : y + CROP, x : x + CROP]
        yield row, np.pad(part, [(0, CROP - side) for side in part.shape[:2]] + [(0, 0)], mode="symmetric")


def _measured(row: Row, image: Pixels) -> Iterator[tuple[Row, Pixels]]:
    y, x = (max(0, (side - 2 * CROP) // 2) for side in image.shape[:2])
    centre = np.ascontiguousarray(image[y : y + 2 * CROP, x : x + 2 * CROP])
    for name, change in CONDITIONS.items():
        changed = change(centre)
        if min(changed.shape[:2]) >= SIDE:
            for tile in tiles(changed, SIDE, 4):
                yield Row(row.source, row.label, row.method, row.group, row.path, name), tile


if __name__ == "__main__":
    main()
