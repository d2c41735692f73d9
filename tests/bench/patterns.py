"""A face manifest of patterns that anything can tell apart: no faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from unmask.data.manifest import FaceRow, write


def lay(folder: Path) -> Path:
    """Per split 12 noise images and 12 of each of two "forgeries" of them; one more crop has failed."""
    rng = np.random.default_rng(0)
    rows = []
    for split, shift in (("train", 0), ("val", 100), ("test", 200)):
        for i in range(12):
            noise = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            smooth = np.asarray(Image.fromarray(noise).resize((12, 12)).resize((32, 32)))
            stripes = (noise // 2 + (np.arange(32) % 2 * 120)[None, :, None]).astype(np.uint8)
            for method, picture in (("", noise), ("smooth", smooth), ("stripes", stripes)):
                name = f"{method or 'real'}-{shift + i}"
                Image.fromarray(picture).save(folder / f"{name}.png")
                rows.append(row(name, method, split, f"g{shift + i}", f"{name}.png", f"real-{shift + i}"))
    rows.append(row("lost", "smooth", "test", "g200", "", "", reason="no face"))
    write(folder / "faces.parquet", rows, folder, FaceRow)
    return folder / "faces.parquet"


def row(name: str, method: str, split: str, group: str, relpath: str, pair: str, reason: str = "") -> FaceRow:
    return FaceRow.model_validate(
        {
            "dataset": "made", "item_id": f"made/{name}#0", "media_id": name, "relpath": relpath, "frame": 0, "t": 0.0,
            "label": int(bool(method)), "group_id": group, "method": method, "split": split, "pair_key": pair,
            "size": 32, "margin": 1.3, "template": "gend5", "reason": reason,
        }
    )  # fmt: skip
