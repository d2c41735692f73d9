"""What attacks made, to be looked at or kept: always marked as attacked, always labelled fake."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from unmask.base.attack import Attacked
from unmask.measure.red_team import Outcome, Subject
from unmask.output import written
from unmask.types import Pixels

MARK = "attacked image, made to test a detector; label: fake"
CELL, LABEL, EACH, LOUDER = 128, 18, 8, 10


def sheet(
    fakes: Pixels, made: Mapping[str, Pixels], outcomes: Mapping[str, Outcome], subject: Subject, path: Path
) -> None:
    """Up to eight fakes that were found, under each attack at its largest budget: before, after, difference."""
    chosen = np.flatnonzero(subject.fake >= subject.threshold)[:EACH]
    page = Image.new("RGB", (max(4, len(chosen)) * CELL, max(1, len(made)) * (3 * CELL + LABEL)), (20, 20, 20))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for n, (name, images) in enumerate(made.items()):
        top = n * (3 * CELL + LABEL)
        pen.text((4, top + 2), f"{name} {outcomes[name].budget}: {MARK}; difference x{LOUDER}", (235, 235, 235), font)
        for k, i in enumerate(chosen):
            gap = (images[i].astype(np.int16) - fakes[i]) * LOUDER + 128
            passes = outcomes[name].attacked[i] < subject.threshold
            for line, picture in enumerate((fakes[i], images[i], gap.clip(0, 255).astype(np.uint8))):
                small = Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.LANCZOS)
                at = (k * CELL, top + LABEL + line * CELL)
                page.paste(small, at)
                if line == 1:
                    frame = (at[0], at[1], at[0] + CELL - 1, at[1] + CELL - 1)
                    pen.rectangle(frame, outline=(220, 60, 60) if passes else (90, 160, 90), width=2)
    _png(page, path, {"unmask": MARK})


def keep(out: Path, name: str, outcomes: Sequence[Outcome], found: Attacked, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every attacked image as PNG, with what it is in its text chunk, and `attacked-NAME.csv` with a line for each."""
    lines = []
    for e, outcome in enumerate(outcomes):
        folder = Path("attacked") / name / re.sub(r"[^0-9.]+", "_", outcome.budget)
        for n, one in enumerate(found.image[e]):
            path = folder / f"{n:05d}.png"
            pixels = (one * 255).round().byte().permute(1, 2, 0).numpy()
            about = {"unmask": MARK, "attack": name, "budget": outcome.budget, "source": str(rows[n]["item_id"])}
            _png(Image.fromarray(pixels), out / path, about)
            lines.append([str(path), rows[n]["item_id"], 1, name, outcome.budget, outcome.attacked[n]])
    with written(out / f"attacked-{name}.csv") as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "source", "label", "attack", "budget", "log_odds"])
        writer.writerows(lines)


def _png(image: Image.Image, path: Path, about: Mapping[str, str]) -> None:
    said = PngInfo()
    for key, value in about.items():
        said.add_text(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as fresh:
        image.save(fresh, format="PNG", pnginfo=said)
