"""Public-domain faces for the tests of forging: two portraits, and variants that stand for other people."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image
from skimage import data

from unmask.data.donors import Donor, Reals
from unmask.data.landmarks import Landmarks, from_five
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.faces import crop
from unmask.types import Face, Floats, InputSpec, Pixels

# Eyes, nose tip, mouth corners as seen in the image.
COLLINS = np.array([(204.7, 105.1), (246.7, 105.0), (223.9, 128.2), (205.6, 145.0), (243.0, 144.9)], np.float32)
HOPPER = np.array([(221.6, 188.5), (303.5, 192.9), (261.6, 238.6), (223.3, 270.1), (294.0, 273.9)], np.float32)
SPEC = InputSpec(size=128, margin=1.3)
PEOPLE = ("collins", "hopper", "collins-mirrored", "hopper-mirrored", "collins-dark", "hopper-dark")


@cache
def portrait(person: str) -> tuple[Pixels, Floats]:
    """The image and the five points of one of PEOPLE."""
    if person.startswith("collins"):
        picture, points = np.asarray(data.astronaut()), COLLINS
    else:
        path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
        picture, points = np.asarray(Image.open(path).convert("RGB")), HOPPER
    if person.endswith("mirrored"):
        mirrored = points * np.array([-1, 1], np.float32) + np.array([picture.shape[1], 0], np.float32)
        picture, points = np.ascontiguousarray(picture[:, ::-1]), mirrored[[1, 0, 2, 4, 3]]
    return (picture // 2 + 10 if person.endswith("dark") else picture), points


def face(person: str, spec: InputSpec = SPEC) -> tuple[Pixels, Landmarks, FaceRow]:
    """The crop, its landmarks from five points, and its row."""
    picture, points = portrait(person)
    found = Face(0, 0.0, (*map(float, points.min(0)), *map(float, points.max(0))), points, 1.0)  # type: ignore[arg-type]
    cut = crop(picture, found, spec)
    five = points @ cut.matrix[:, :2].T + cut.matrix[:, 2]
    row: dict[str, Any] = {
        "dataset": "portraits", "item_id": f"portraits/{person}#0", "media_id": f"portraits/{person}",
        "relpath": f"{person}.png", "label": 0, "group_id": person, "identity": person, "split": "train",
        "pair_key": f"portraits/{person}", "frame": 0, "t": 0.0, "box": found.box, "score": 1.0,
        "points": tuple(map(float, points.ravel())), "matrix": tuple(map(float, cut.matrix.ravel())),
        "size": spec.size, "margin": spec.margin, "template": spec.template,
    }  # fmt: skip
    return cut.image, from_five(five.astype(np.float32)), FaceRow.model_validate(row)


def lay(root: Path, people: tuple[str, ...] = PEOPLE, **changes: dict[str, Any]) -> Path:
    """Crops of people below `root`, and their manifest; `changes`: of some people's rows."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for person in people:
        image, _, row = face(person)
        Image.fromarray(image).save(root / row.relpath)
        rows.append(row.model_copy(update=changes.get(person.replace("-", "_"), {})))
    return write(root / "faces.parquet", rows, {"portraits": root}, FaceRow).path


def reals(root: Path) -> Reals:
    return Reals(Manifest(lay(root)))


class Everyone:
    """`Donors` in memory: all of PEOPLE but one."""

    def __init__(self, but: str) -> None:
        self.people = [p for p in PEOPLE if p != but]

    def draw(self, rng: np.random.Generator, side: int, count: int = 1, *, among: int | None = None) -> list[Donor]:
        """The crops at another size; `among` is not looked at, they all face the camera."""
        chosen = [self.people[n] for n in rng.permutation(len(self.people))[:count]]
        spec = SPEC.model_copy(update={"size": side})
        return [Donor(*face(person, spec)[:2], person) for person in chosen]
