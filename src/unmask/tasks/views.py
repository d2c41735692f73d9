"""Views for pre-training: random crops of images, of any sizes and counts, and captions or sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unmask.base.objective import Views
from unmask.base.predict import to_tensor
from unmask.data.loader import FaceSet, Key, Transform
from unmask.data.manifest import Manifest
from unmask.data.transforms import Chain, InPlace, OneOf
from unmask.data.wording import Change, build
from unmask.errors import RecipeError
from unmask.tasks.selection import transform
from unmask.tasks.settings import TextView, View
from unmask.types import Floats, Pixels

WORDS = 1_000_003  # sets the draws of a row's words apart from those of its image
ATTEMPTS = 10  # draws of a crop before the largest one in the middle is taken


class Seen(NamedTuple):
    """One row in V views of its image and W of its words; torch's own collation makes of many the same, with a first
    axis B."""

    images: tuple[Pixels, ...]  # V of uint8 (S_v, S_v, 3)
    boxes: Floats  # (V, 4)
    at: int
    label: int
    group: int
    texts: tuple[str, ...] = ()  # W


class ViewSet(Dataset[Seen]):
    """The crops of a FaceSet, each in the views that a recipe lists. A key's numbers seed the draws."""

    def __init__(
        self, faces: FaceSet, views: Sequence[View], label: NDArray[np.integer], texts: TextViews | None = None
    ) -> None:
        """
        Args:
            label: (N,) class of each crop, -1 = none.
            texts: the captions of each crop; None = no words in a batch.
        Raises: UnmaskError for transforms that are not known, or that move pixels.
        """
        self.faces, self.label, self.texts = faces, label, texts
        self.views = [(view, still(view)) for view in views for _ in range(view.count)]

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: Key) -> Seen:
        """Raises: UnmaskError that names the file, if it cannot be read."""
        i, *seed = (key, key) if isinstance(key, int | np.integer) else key
        at, stored = int(i), self.faces.stored(int(i))
        images, boxes = [], []
        for number, (view, change) in enumerate(self.views):
            rng = np.random.default_rng([*map(int, seed), number])
            size = view.size or self.faces.spec.size
            if view.crop is None:
                image, box = self.faces.cut(at, stored, size)
            else:
                image, box = random_crop(stored, size, view, rng)
            if change is not None:
                image = change(image, rng)
            if rng.random() < view.flip:
                image, box = image[:, ::-1], box[[2, 1, 0, 3]]
            images.append(np.ascontiguousarray(image))
            boxes.append(box)
        said = self.texts(at, seed) if self.texts else ()
        return Seen(tuple(images), np.stack(boxes), at, int(self.label[at]), int(self.faces.group[at]), said)


class SentenceSet(Dataset[Seen]):
    """Rows of words alone, each in the views that a recipe lists."""

    def __init__(
        self,
        manifest: Manifest,
        row: NDArray[np.int32],
        group: NDArray[np.int32],
        label: NDArray[np.integer],
        texts: TextViews,
    ) -> None:
        """
        Args:
            row: (N,) of the manifest; `group` and `label` (N,) of these.
        """
        self.manifest, self.row, self.group, self.label, self.texts = manifest, row, group, label, texts

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, key: Key) -> Seen:
        i, *seed = (key, key) if isinstance(key, int | np.integer) else key
        at = int(i)
        none = np.empty((0, 4), np.float32)
        return Seen((), none, at, int(self.label[at]), int(self.group[at]), self.texts(at, seed))


class TextViews:
    """The words of each row in the views that a recipe lists."""

    def __init__(self, columns: Mapping[str, pa.ChunkedArray], views: Sequence[TextView]) -> None:
        """
        Args:
            columns: "text" and, of sentence tables, "other" and "negative": (N,) lists of sentences, or sentences.
        Raises: UnmaskError for a column that is not there, an unknown change, and rows without words.
        """
        self.views: list[tuple[TextView, Change]] = [(v, build(v.steps)) for v in views for _ in range(v.count)]
        self.columns: dict[str, pa.Array] = {}
        for name in {view.of for view, _ in self.views}:
            if name not in columns:
                raise RecipeError(f"texts.of {name!r} is a column of sentence tables: captions have text alone")
            held = columns[name].combine_chunks() if isinstance(columns[name], pa.ChunkedArray) else columns[name]
            empty = sum(not held[i].as_py() for i in range(len(held)))
            if empty:
                raise RecipeError(
                    f"{empty} of the chosen rows have no {name}: leave them out with `unmask data filter`"
                )
            self.columns[name] = held

    def __call__(self, at: int, seed: Sequence[int]) -> tuple[str, ...]:
        """The views of row `at`, by draws of its own that the key's numbers seed."""
        found = []
        for number, (view, change) in enumerate(self.views):
            rng = np.random.default_rng([*map(int, seed), number, WORDS])
            said = self.columns[view.of][at].as_py()
            text = (
                said if isinstance(said, str) else said[int(rng.integers(len(said))) if view.choice == "random" else 0]
            )
            found.append(change(text, rng))
        return tuple(found)


def views_of(seen: Seen, device: torch.device | str = "cpu") -> Views:
    """Collated items as a batch on `device`."""
    boxes = torch.as_tensor(seen.boxes).to(device)
    at, label, group = (torch.as_tensor(x).to(device) for x in (seen.at, seen.label, seen.group))
    images = tuple(to_tensor(image, device) for image in seen.images)
    return Views(images, boxes.unbind(1), at, label, group, tuple(tuple(view) for view in seen.texts))


def random_crop(image: Pixels, size: int, view: View, rng: np.random.Generator) -> tuple[Pixels, Floats]:
    """A crop of a random area and shape (Szegedy et al., CVPR 2015), resized to `size`; and its box, (4,) in 0..1."""
    assert view.crop is not None
    height, width = image.shape[:2]
    low, high = np.log(view.ratio)
    for _ in range(ATTEMPTS):
        area, ratio = rng.uniform(*view.crop) * height * width, np.exp(rng.uniform(low, high))
        w, h = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            break
    else:
        w = h = min(height, width)
        x, y = (width - w) // 2, (height - h) // 2
    smaller = w * h > size * size
    kind = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    cut = cv2.resize(image[y : y + h, x : x + w], (size, size), interpolation=kind)
    box = np.array([x / width, y / height, (x + w) / width, (y + h) / height], np.float32)
    return np.asarray(cut, np.uint8), box


def still(view: View) -> Transform | None:
    """The view's transform. Raises: UnmaskError where a step moves pixels: the box would no longer be true."""
    change = transform(view.transforms)
    if isinstance(change, Chain):
        for step in change.steps:
            if not isinstance(step, InPlace | OneOf):
                raise RecipeError(
                    f"{type(step).__name__.lower()} in a view moves pixels: use the crop and flip of the view"
                )
    return change
