"""Images that are in memory already: an array of pixels, or an image of Pillow's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmask.media.image import to_rgb
from unmask.media.limits import DEFAULTS, Limits, MediaError
from unmask.media.provenance import TAG_DAMAGE, exif_fields
from unmask.types import Frame, Media, Pixels, Unread


def from_array(array: NDArray[np.uint8], limits: Limits = DEFAULTS) -> Media:
    """A still of RGB pixels, uint8 (H, W, 3), or of grey ones (H, W). OpenCV's are BGR: give `array[..., ::-1]`.

    Its sha256 is that of the pixels.

    Raises: MediaError for another shape or type, or over a limit.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise MediaError(
            f"an array of {array.dtype} {array.shape} is not an image; give uint8 (height, width, 3) in RGB, "
            "or (height, width) in grey"
        )
    if 0 in array.shape:
        raise MediaError(f"an array of shape {array.shape} holds no pixels")
    limits.check("pixels", array.shape[0] * array.shape[1])
    image = np.ascontiguousarray(array if array.ndim == 3 else np.stack([array] * 3, axis=-1))
    return _still(image, "array", "<array>", {})


def from_image(image: Image.Image, limits: Limits = DEFAULTS) -> Media:
    """A still as `open_media` reads a file: profile and orientation applied, over white. Its sha256 is of the pixels.

    Raises: MediaError when it cannot be decoded, or is over a limit.
    """
    limits.check("pixels", image.width * image.height)
    try:
        image.load()
        pixels = to_rgb(image)
    except TAG_DAMAGE as error:
        raise MediaError(f"the image cannot be decoded: {error}") from error
    name = str(getattr(image, "filename", "")) or "<image>"
    return _still(pixels, (image.format or "image").lower(), name, exif_fields(image))


def _still(image: Pixels, form: str, name: str, provenance: dict[str, str]) -> Media:
    height, width = image.shape[:2]

    def frames(count: int) -> Iterator[Frame | Unread]:
        return iter((Frame(0, 0.0, image),))

    return Media(
        source=name,
        sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        kind="image",
        format=form,
        width=width,
        height=height,
        seconds=None,
        fps=None,
        total_frames=None,
        notes=(),
        provenance=provenance | {"c2pa": "not_checked", "c2pa_why": "pixels in memory; give the file for its claims"},
        frames=frames,
    )
