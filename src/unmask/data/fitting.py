"""A stored crop as a detector wants it: read, checked, and cut to the detector's margin and size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from unmask.errors import ManifestError
from unmask.tiling import inputs
from unmask.types import Floats, InputSpec, Pixels


def read(path: Path, item: str) -> Pixels:
    """The crop of `item`, uint8 (S, S, 3). Raises: UnmaskError that names the path and what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        why = "is missing" if missing else f"cannot be read ({error.strerror})"
        remedy = "extract the faces again, or index the folder that you moved" if missing else "see to the file"
        raise ManifestError(f"{path}, the crop of {item!r}, {why}: {remedy}") from None
    return decoded(data, str(path), item)


def decoded(data: bytes | np.typing.NDArray[np.uint8], source: str, item: str) -> Pixels:
    """The same from bytes in memory, which came from `source`."""
    picture = pixels(data)
    if picture is None:
        what = "is damaged or no image" if len(data) else "is an empty file"
        raise ManifestError(f"{source}, the crop of {item!r}, {what}: extract the faces again")
    height, width = picture.shape[:2]
    if height != width:
        raise ManifestError(
            f"{source}, the crop of {item!r}, is no square image ({width}×{height}): extract faces again"
        )
    return picture


def pixels(data: bytes | np.typing.NDArray[np.uint8]) -> Pixels | None:
    """An image file's RGB (H, W, 3); None for what is no image."""
    bytes_ = np.frombuffer(data, np.uint8)
    picture = cv2.imdecode(bytes_, cv2.IMREAD_COLOR) if len(bytes_) else None
    return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def check(spec: InputSpec, margin: float | None, template: str, item: str) -> None:
    """Raises: UnmaskError where a crop is narrower than a detector wants, or aligned to other points."""
    if spec.margin == 0:
        raise ManifestError(f"this detector looks at whole images (margin 0), and {item!r} is the crop of a face")
    if margin is None:
        raise ManifestError(f"{item!r} is a whole image, and this detector looks at faces: run `unmask data extract`")
    if template != spec.template or margin < spec.margin - 1e-6:
        raise ManifestError(
            f"crop {item!r} is cut to {template or 'no'} template, margin {margin}, but the "
            f"detector wants {spec.template}, {spec.margin}: cut the faces again with that margin or a wider one"
        )


def inputs_of(image: Pixels, spec: InputSpec, row: Mapping[str, Any]) -> Pixels:
    """What a detector looks at to judge a row: the middle of its crop, or the tiles of its image. (N, size, size, 3)

    Args:
        image: the crop of a row of faces, square, or a window of crops; or the image of a row of media
            (`unmask.data.pictures.rows_of`).
    Raises: UnmaskError where the row cannot give this detector's input.
    """
    if spec.margin == 0 and row["margin"] is None:
        return inputs(image, spec)
    check(spec, row["margin"], row["template"], row["item_id"])
    return fit_all(image, spec, row["margin"])[None]


def fit(crop: Pixels, spec: InputSpec, margin: float) -> Pixels:
    """The middle of a crop (S, S, 3) cut with `margin`, of the width and size that a detector wants; see `check`."""
    edge, side = _middle(crop.shape[0], spec, margin)
    if abs(side - spec.size) < 1e-3 and abs(edge - round(edge)) < 1e-3:  # pixel by pixel the detector's own crop
        low = round(edge)
        return crop[low : low + spec.size, low : low + spec.size]
    box = (edge, edge, edge + side, edge + side)
    resized = Image.fromarray(crop).resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=box)
    return np.array(resized)


def fit_all(crop: Pixels, spec: InputSpec, margin: float) -> Pixels:
    """The same of a crop, or of each crop of a window (T, S, S, 3)."""
    return fit(crop, spec, margin) if crop.ndim == 3 else np.stack([fit(one, spec, margin) for one in crop])


def fitted(points: Floats, crop: int, spec: InputSpec, margin: float) -> Floats:
    """Where `fit` puts points (N, 2) of a crop, pixels; `crop`: its side."""
    edge, side = _middle(crop, spec, margin)
    return np.asarray((points - edge) * (spec.size / side), np.float32)


def _middle(crop: int, spec: InputSpec, margin: float) -> tuple[float, float]:
    """Where the cut begins, and its side. A manifest's margin of 1.3, in 32 bits, is a little less."""
    side = min(crop * spec.margin / margin, crop)
    return (crop - side) / 2, side
