"""Captioned scenes: coloured shapes on grey, and sentences that say what is where. A small test bed for captions.

Everything that a caption says can be read from the image, and nothing else. Some combinations of colour and shape are
held out: a model that has learnt the words apart names them, one that has learnt sentences by heart does not. With
noise, a share of the training images carries the captions of another scene, as alt texts of the web do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.data.manifest import Manifest, Row, Split, write
from unmask.errors import InputError
from unmask.types import Pixels

COLOURS = {
    "red": (210, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 210), "yellow": (230, 200, 40),
    "purple": (140, 60, 170), "orange": (240, 130, 30),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross", "diamond")
POSITIONS = {
    "top left": (0, 0), "top": (1, 0), "top right": (2, 0),
    "left": (0, 1), "centre": (1, 1), "right": (2, 1),
    "bottom left": (0, 2), "bottom": (1, 2), "bottom right": (2, 2),
}  # fmt: skip
COUNTS = ("one", "two", "three")
PER_SCENE = 2  # captions


@dataclass(frozen=True)
class Scene:
    """`count` equal shapes of one colour, the first at `position`, the others at other places of a 3 x 3 grid."""

    colour: str
    shape: str
    position: str
    count: int

    @property
    def held_out(self) -> bool:
        """One in five of the pairs (colour, shape): along a diagonal, so that each colour and each shape is known."""
        return (list(COLOURS).index(self.colour) + SHAPES.index(self.shape)) % 5 == 0

    def caption(self, form: int) -> str:
        """One of four sentences, which say the same; `form` 0 is the plain one."""
        many = self.count > 1
        plural = "crosses" if self.shape == "cross" else f"{self.shape}s"
        what = f"{self.colour} {plural if many else self.shape}"
        counted = f"{COUNTS[self.count - 1]} {what}" if many else f"{'an' if self.colour == 'orange' else 'a'} {what}"
        forms = (
            f"{counted} at the {self.position}",
            f"at the {self.position} there {'are' if many else 'is'} {counted}",
            f"a picture of {counted} , {self.position}",
            f"{self.position} : {counted}",
        )
        return forms[form % len(forms)]


def scene(rng: np.random.Generator) -> Scene:
    """Each property on its own, evenly."""
    colour, shape, position = (list(x)[rng.integers(len(x))] for x in (COLOURS, SHAPES, POSITIONS))
    return Scene(colour, shape, position, int(rng.integers(len(COUNTS))) + 1)


def draw(what: Scene, rng: np.random.Generator, size: int = 64) -> Pixels:
    """(size, size, 3): shapes of a random size and shade near their places, on grey with noise of deviation 6."""
    image = np.full((size, size, 3), rng.integers(90, 170), np.uint8)
    cell = size / 3
    others = [p for p in POSITIONS.values() if p != POSITIONS[what.position]]
    # The first is larger: which of several the position speaks of can be seen.
    places = [POSITIONS[what.position], *(others[i] for i in rng.permutation(len(others))[: what.count - 1])]
    for n, place in enumerate(places):
        radius = cell * (rng.uniform(0.38, 0.46) if n == 0 else rng.uniform(0.2, 0.26))
        middle = (np.array(place) + 0.5) * cell + rng.uniform(-0.05, 0.05, 2) * cell
        shade = np.clip(np.array(COLOURS[what.colour]) + rng.integers(-15, 16, 3), 0, 255)
        _shape(image, what.shape, middle, radius, tuple(int(c) for c in shade))
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def _shape(image: Pixels, kind: str, middle: NDArray[np.float64], radius: float, colour: tuple[int, ...]) -> None:
    x, y = middle
    if kind == "circle":
        cv2.circle(image, (round(x), round(y)), round(radius), colour, -1)
        return
    thin = radius / 3
    corners = {
        "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "triangle": [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
        "diamond": [(0, -1.1), (0.7, 0), (0, 1.1), (-0.7, 0)],
    }
    if kind == "cross":
        for wide, high in ((radius, thin), (thin, radius)):
            low, top = (round(x - wide), round(y - high)), (round(x + wide), round(y + high))
            cv2.rectangle(image, low, top, colour, -1)
        return
    points = np.array(corners[kind]) * radius + middle
    cv2.fillPoly(image, [points.round().astype(np.int32)], colour)


def write_scenes(
    out: Path, count: int = 2000, *, size: int = 64, noise: float = 0.0, validation: float = 0.15, seed: int = 0
) -> Manifest:
    """Draw scenes into `out`/images and list them in `out`/scenes.parquet.

    Test rows are those whose colour and shape never come together in training. A scene's leakage group is itself.

    Args:
        count: of scenes.
        size: side of an image, pixels.
        noise: share of the training images that carry the captions of another one; they have the flag "noisy".
        validation: share of the other scenes that validate.
        seed: of everything; the images are the same whatever the noise is.
    Raises: UnmaskError for shares outside 0..1, and fewer than 10 scenes.
    """
    if not (0 <= noise <= 1 and 0 < validation < 1) or count < 10:
        raise InputError("scenes want a noise in 0..1, a validation share between 0 and 1, and a count of 10 or more")
    (out / "images").mkdir(parents=True, exist_ok=True)
    return write(out / "scenes.parquet", _rows(out, count, size, noise, validation, seed), {"scenes": out})


def _rows(out: Path, count: int, size: int, noise: float, validation: float, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng([seed, 0])
    scenes = [scene(rng) for _ in range(count)]
    forms = rng.integers(4, size=(count, PER_SCENE))
    split: list[Split] = ["test" if s.held_out else "val" if rng.random() < validation else "train" for s in scenes]
    chance = np.random.default_rng([seed, 1])
    train = np.array([i for i, s in enumerate(split) if s == "train"])
    wrong = set(chance.permutation(train)[: round(noise * len(train))].tolist())
    for i, what in enumerate(scenes):
        image = draw(what, np.random.default_rng([seed, 2, i]), size)
        name = f"images/{i:06d}.png"
        cv2.imwrite(str(out / name), image[..., ::-1])
        said = scenes[_another(i, train, chance)] if i in wrong else what
        yield Row(
            dataset="scenes",
            item_id=f"scenes/{i:06d}",
            relpath=name,
            group_id=f"scenes/{i:06d}",
            split=split[i],
            split_source="scenes",
            caption=tuple(dict.fromkeys(said.caption(int(f)) for f in forms[i])),
            flags=("noisy",) if i in wrong else (),
            identity=f"{what.colour} {what.shape}",
            extra={"colour": what.colour, "shape": what.shape, "position": what.position, "count": str(what.count)},
        )


def _another(i: int, rows: NDArray[np.int64], rng: np.random.Generator) -> int:
    found = int(rows[rng.integers(len(rows))])
    return found if found != i or len(rows) == 1 else _another(i, rows, rng)
