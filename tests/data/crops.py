"""Small face manifests over crops on disk, as the tests of loading want them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from unmask.data.manifest import FaceRow, write
from unmask.types import Pixels

SIZE, MARGIN = 40, 1.25


def picture(name: str, size: int = SIZE) -> Pixels:
    """Noise that its name seeds, so that no two crops are alike."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (size, size, 3), np.uint8)


def face(
    video: str, frame: int, label: int | None, *, source: str = "", method: str = "", **changes: object
) -> FaceRow:
    name = f"{video}/{frame:03d}"
    values = {
        "dataset": "d", "item_id": f"d/{name}", "media_id": f"d/{video}", "relpath": f"{name}.png", "label": label,
        "group_id": source or video, "pair_key": f"d/{source or video}", "method": method, "frame": frame,
        "t": frame / 25, "size": SIZE, "margin": MARGIN, "template": "gend5",
    }  # fmt: skip
    return FaceRow.model_validate(values | changes)


def lay(root: Path, rows: Iterable[FaceRow]) -> Path:
    """Crops of the rows below `root`, and their manifest."""
    rows = list(rows)
    for row in rows:
        if not row.reason:
            path = root / row.relpath
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture(row.relpath)[..., ::-1])
    return write(root / "faces.parquet", rows, {"d": root}, FaceRow).path


def clips(people: int = 6, frames: int = 4, methods: tuple[str, ...] = ("swap", "act")) -> list[FaceRow]:
    """Each person's real video and one forgery of it by each method, at the same frames."""
    rows = []
    for n in range(people):
        for frame in range(frames):
            rows.append(face(f"p{n}", frame * 10, 0))
            rows += [face(f"{m}{n}", frame * 10, 1, source=f"p{n}", method=m) for m in methods]
    return rows
