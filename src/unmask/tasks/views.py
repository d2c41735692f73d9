"""Views of images for pre-training: random crops of any sizes and counts, and where each was cropped from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unmask.base.objective import Views
from unmask.base.predict import to_tensor
from unmask.data.fitting import fit
from unmask.data.loader import FaceSet, Key, Transform
from unmask.data.transforms import Chain, InPlace, OneOf
from unmask.errors import RecipeError
from unmask.tasks.selection import transform
from unmask.tasks.settings import View
from unmask.types import Floats, Pixels

ATTEMPTS = 10  # draws of a crop before the largest one in the middle is taken


class Seen(NamedTuple):
    """One image in V views; torch's own collation makes of many the same with a first axis B."""

    images: tuple[Pixels, ...]  # V of uint8 (S_v, S_v, 3)
    boxes: Floats  # (V, 4)
    at: int
    label: int
    group: int


class ViewSet(Dataset[Seen]):
    """The crops of a FaceSet, each in the views that a recipe lists. A key's numbers seed the draws."""

    def __init__(self, faces: FaceSet, views: Sequence[View], label: NDArray[np.integer]) -> None:
        """
        Args:
            label: (N,) class of each crop, -1 = none.
        Raises: UnmaskError for transforms that are not known, or that move pixels.
        """
        self.faces, self.label = faces, label
        self.views = [(view, still(view)) for view in views for _ in range(view.count)]

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: Key) -> Seen:
        """Raises: UnmaskError that names the file, if it cannot be read."""
        i, *seed = (key, key) if isinstance(key, int | np.integer) else key
        at, stored = int(i), self.faces.stored(int(i))
        spec, margin = self.faces.spec, float(self.faces.margin[at])
        images, boxes = [], []
        for number, (view, change) in enumerate(self.views):
            rng = np.random.default_rng([*map(int, seed), number])
            size = view.size or spec.size
            if view.crop is None:
                image, box = fit(stored, spec.model_copy(update={"size": size}), margin), middle(spec.margin / margin)
            else:
                image, box = random_crop(stored, size, view, rng)
            if change is not None:
                image = change(image, rng)
            if rng.random() < view.flip:
                image, box = image[:, ::-1], box[[2, 1, 0, 3]]
            images.append(np.ascontiguousarray(image))
            boxes.append(box)
        return Seen(tuple(images), np.stack(boxes), at, int(self.label[at]), int(self.faces.group[at]))


def views_of(seen: Seen, device: torch.device | str = "cpu") -> Views:
    """Collated items as a batch on `device`."""
    boxes = torch.as_tensor(seen.boxes).to(device)
    at, label, group = (torch.as_tensor(x).to(device) for x in (seen.at, seen.label, seen.group))
    return Views(tuple(to_tensor(image, device) for image in seen.images), boxes.unbind(1), at, label, group)


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


def middle(side: float) -> Floats:
    """(4,) box of a square of this side, in the middle of the image."""
    edge = (1 - min(side, 1.0)) / 2
    return np.array([edge, edge, 1 - edge, 1 - edge], np.float32)


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
