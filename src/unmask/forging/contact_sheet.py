"""A contact sheet: forgeries under what they were made from and over their masks, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unmask.data.manifest import Manifest
from unmask.types import Pixels

MARK = "synthetic, for detector training"
CELL, LABEL, EACH = 128, 18, 8
_COLUMNS = ("dataset", "method", "reason", "relpath", "mask_relpath", "extra")
Panel = tuple[Pixels, Pixels, Pixels]  # source, forged, mask


def sheet(sources: Manifest, forged: Manifest) -> Pixels:
    """Up to eight forgeries of each generator, evenly spread over the manifest, as one image."""
    there = forged.table(_COLUMNS).to_pylist()
    there = [r for r in there if not r["reason"]]
    chosen: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys(r["method"] for r in there):
        of = [r for r in there if r["method"] == name]
        chosen[name] = [of[(2 * n + 1) * len(of) // (2 * min(EACH, len(of)))] for n in range(min(EACH, len(of)))]
    wanted = {dict(r["extra"])["source"] for of in chosen.values() for r in of}
    places = sources.table(("item_id", "dataset", "relpath"))
    ids = places["item_id"].to_pylist()
    real = {ids[n]: places.slice(n, 1).to_pylist()[0] for n in range(len(ids)) if ids[n] in wanted}

    def panel(row: dict[str, Any]) -> Panel:
        source = real[dict(row["extra"])["source"]]
        paths = (
            sources.file(source["dataset"], source["relpath"]),
            forged.file(row["dataset"], row["relpath"]),
            forged.file(row["dataset"], row["mask_relpath"]),
        )
        first, second, third = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
        return first, second, third

    return drawn({name: [panel(r) for r in of] for name, of in chosen.items()})


def drawn(panels: Mapping[str, Sequence[Panel]]) -> Pixels:
    """Each generator's panels in a strip of three rows (source, forged, mask) under its name."""
    wide = max((len(of) for of in panels.values()), default=1) * CELL
    page = Image.new("RGB", (wide, max(1, len(panels)) * (3 * CELL + LABEL)), (20, 20, 20))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for n, (name, of) in enumerate(panels.items()):
        top = n * (3 * CELL + LABEL)
        pen.text((4, top + 2), f"{name}: source, forged ({MARK}), mask", (235, 235, 235), font)
        for k, panel in enumerate(of):
            for row, picture in enumerate(panel):
                small = Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.LANCZOS)
                page.paste(small, (k * CELL, top + LABEL + row * CELL))
    return np.asarray(page)
