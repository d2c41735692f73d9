"""The traces of up-sampling, which generators of images leave whatever they show: a face made small and large again.

A generator ends by enlarging what it has imagined, and each way to enlarge leaves its own pattern in the spectrum:
neighbours are copied (nearest) or averaged (bilinear), or a transposed convolution overlaps unevenly and lays a
checkerboard over the image. Here a real face goes through such a step itself: down by an average and up again in one
of these ways, or through a small learned auto-encoder, whose decoder does what theirs do.

Zhang, Karaman and Chang, "Detecting and Simulating Artifacts in GAN Fake Images", WIFS 2019 (arXiv 1907.06515), had the
idea of simulating the up-sampler (AutoGAN); Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts",
Distill 2016, explain the checkerboard. The kernels and the auto-encoder (`python -m training.upsampler`) are ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unmask.base.generator import Forgery, Generator, Origin, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import Landmarks, soft_face
from unmask.errors import InputError
from unmask.imageops.blending import blend
from unmask.types import Floats, Pixels

CARD = {
    "title": "Traces of up-sampling",
    "paper": "after Zhang, Karaman and Chang, WIFS 2019, arXiv 1907.06515; kernels and auto-encoder are ours",
    "task": "a real face -> the same, made small and enlarged as generators do, in whole or inside the face",
    "licence": "Apache-2.0, the auto-encoder's weights too; they saw the public-domain samples and made-up images",
    "verified": "transposed convolution against a direct sum; the period of each trace in the spectrum",
}
WAYS = ("nearest", "bilinear", "transposed", "learned")
WEIGHTS = Path(__file__).with_suffix(".onnx")


class UpSample(Generator):
    """One way, once or twice by two; on the whole image, or with a soft edge on the face alone."""

    def __init__(self, *, ways: Sequence[str] = WAYS, inside: float = 0.4) -> None:
        """
        Args:
            ways: of nearest, bilinear, transposed, learned; one is drawn each time.
            inside: share of forgeries whose face alone is touched.
        """
        if not ways or not set(ways) <= set(WAYS) or not 0 <= inside <= 1:
            raise InputError(f"ways are of {', '.join(WAYS)} and inside a share, not {list(ways)} and {inside}")
        self.ways, self.inside = tuple(ways), inside

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        side = image.shape[0]
        way = self.ways[int(rng.integers(len(self.ways)))]
        out = repeated(image) if way == "learned" else halved_and_back(image, way, rng)
        if rng.random() < 0.5:  # what was lost in sharpness is often given back, which the trace survives
            out = np.asarray(cv2.addWeighted(out, 1.6, cv2.GaussianBlur(out, (0, 0), 1.0), -0.6, 0), np.uint8)
        alpha = np.ones((side, side), np.float32)
        if rng.random() < self.inside:
            alpha = soft_face(face, side)
            if alpha.max() < 0.5:
                raise Unforgeable("the face lies outside of the image")
        return Forgery(blend(image, out, alpha), alpha, details={"way": way})

    def origin(self) -> Origin:
        held = {WEIGHTS.name: hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()}
        return Origin(weights=held if "learned" in self.ways else {})


def halved_and_back(image: Pixels, way: str, rng: np.random.Generator) -> Pixels:
    """Means of 2 x 2 pixels, enlarged by one of WAYS but the learned one."""
    side = image.shape[0]
    even = cv2.copyMakeBorder(image, 0, side % 2, 0, side % 2, cv2.BORDER_REPLICATE)
    half = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
    if way == "transposed":
        large = transposed(half, kernel(rng))
    else:
        flag = cv2.INTER_NEAREST if way == "nearest" else cv2.INTER_LINEAR
        large = np.asarray(cv2.resize(half, None, fx=2, fy=2, interpolation=flag), np.float32)
    return np.asarray(large.round().clip(0, 255), np.uint8)[:side, :side]


def kernel(rng: np.random.Generator) -> Floats:
    """(3, 3) or (4, 4): a smooth one with some noise, of sum 4, so that the mean brightness stays.

    Each of the four places that a pixel of the enlarged image can have in the grid sees its own share of the kernel;
    that these shares are not 1 each is the checkerboard.
    """
    width = int(rng.integers(3, 5))
    line = np.array([0.5, 1, 0.5] if width == 3 else [0.25, 0.75, 0.75, 0.25])
    weights = np.outer(line, line) * (1 + rng.uniform(-0.08, 0.08, (width, width)))
    return np.asarray(weights * (4 / weights.sum()), np.float32)


def transposed(image: Floats, weights: Floats) -> Floats:
    """Transposed convolution by two: each pixel (i, j) adds its value times the kernel at (2 i, 2 j).

    Args:
        image: float32 (h, w, C).
        weights: (k, k), k 3 or 4, the same for all channels; beyond its edge the image goes on as it ends.
    Returns: float32 (2 h, 2 w, C), without the first (k - 2) // 2 rows and columns, the padding that networks take.
    """
    k = len(weights)
    wide = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    h, w = wide.shape[:2]
    spread = np.zeros((2 * h, 2 * w, image.shape[2]), np.float32)
    spread[::2, ::2] = wide
    # cv2.filter2D correlates; turned by half a circle it convolves, out[n] = sum over m of in[n - m] kernel[m].
    full = cv2.filter2D(spread, -1, weights[::-1, ::-1], anchor=(k - 1, k - 1), borderType=cv2.BORDER_CONSTANT)
    low = 2 + (k - 2) // 2
    return np.asarray(full[low : low + 2 * image.shape[0], low : low + 2 * image.shape[1]], np.float32)


def repeated(image: Pixels) -> Pixels:
    """The image as the learned auto-encoder repeats it."""
    side = image.shape[0]
    room = -side % 4
    whole = cv2.copyMakeBorder(image, 0, room, 0, room, cv2.BORDER_REPLICATE)
    planes = (whole.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    (out,) = _session().run(None, {"image": np.ascontiguousarray(planes)})
    pixels = (out[0].transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:side, :side])


@lru_cache(maxsize=1)
def _session() -> Any:
    """One for each process, made when it is first wanted: it does not survive a fork or a pickle."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(WEIGHTS.read_bytes(), options, providers=["CPUExecutionProvider"])
