"""Finds all faces of an image: boxes, five points, confidence; one or two nets on ONNX Runtime.

The first, of YuNet's layout, looks at the whole image; a second, where there is one, refines each detection
(`unmask.faces.refinement`): exact points, and a score of its own.

YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", MIR 2023) predicts one face per cell of three
grids with strides 8, 16 and 32: a class and an object probability, a box and five points relative to the cell.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from unmask.errors import BundleError
from unmask.faces.align import check_picture
from unmask.faces.pull import pulled
from unmask.faces.refinement import Refiner
from unmask.faces.session import session
from unmask.types import Face, Floats, Pixels

STRIDES = (8, 16, 32)
KINDS = ("cls", "obj", "bbox", "kps")
OUTPUTS = [f"{kind}_{stride}" for kind in KINDS for stride in STRIDES]
_FILE = Path(__file__).with_name("face_detector.onnx")
CONFIDENT = 0.7
EAGER = 0.4  # what the first net must say of a find for the second to look at it
MOST = 5000  # candidates of one look; a crowd of 500 faces has about that many
OVERLAP = 0.3  # intersection over union above which two boxes are one face
LOOKS = (320, 640, 1280)  # long sides of the looks at an image, pixels
LARGE = 160  # side of a face, in pixels of a closer look, above which only the coarser looks are believed
TINY = 16  # side of a face, in pixels of the first look, below which its points are too rough


@dataclass(frozen=True)
class Found:
    """Faces of one or more looks: scores (N,), boxes (N, 4) as x0, y0, x1, y1, points (N, 5, 2)."""

    scores: Floats
    boxes: Floats
    points: Floats

    def __getitem__(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Found:
        return Found(self.scores[chosen], self.boxes[chosen], self.points[chosen])

    def __len__(self) -> int:
        return len(self.scores)


class FaceDetectorCard(BaseModel):
    """What the card beside a face detector's file says that is needed to run it; it says more."""

    name: str = ""
    threshold: float = Field(CONFIDENT, gt=0, lt=1)
    refiner: str = Field("", pattern=r"^(\w[\w.-]*)?$")  # a file in the same folder

    @classmethod
    def beside(cls, path: Path) -> FaceDetectorCard:
        """Raises: UnmaskError for a card that cannot be understood."""
        file = path.with_suffix(".json")
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, ValidationError) as error:
            raise BundleError(f"{file} is not the card of a face detector: {error}") from error


class FaceDetector:
    """A face detector; make one with `FaceDetector.load`. Threads may share it.

    Attributes:
        name: for reports.
        sha256: of the weights, those of both nets one after the other, lower-case hex.
    """

    def __init__(
        self,
        weights: bytes,
        name: str,
        threads: int = 1,
        confident: float = CONFIDENT,
        refiner: bytes | None = None,
    ) -> None:
        """`weights`: an ONNX file of YuNet's layout; `confident`: the least score of a face, 0..1.

        With `refiner`, an ONNX file as `Refiner` takes it, the score is the geometric mean of what both nets say.

        Raises: UnmaskError when the weights are no such files.
        """
        self.name = name
        self.confident = confident
        self.sha256 = hashlib.sha256(weights + (refiner or b"")).hexdigest()
        self._session = session(weights, f"face detector {name}", threads)
        inputs, outputs = self._session.get_inputs(), {o.name for o in self._session.get_outputs()}
        if [i.name for i in inputs] != ["input"] or not set(OUTPUTS) <= outputs:
            raise BundleError(
                f"face detector {name} has not YuNet's layout: input 'input', outputs {', '.join(OUTPUTS)}"
            )
        if any(isinstance(side, int) for side in inputs[0].shape[2:]):
            raise BundleError(
                f"face detector {name} takes images of {inputs[0].shape} only: export it with free height, width"
            )
        self._refiner = None if refiner is None else Refiner(refiner, name, threads)

    @classmethod
    def load(cls, name: str = "embedded", threads: int = 1) -> FaceDetector:
        """The one that ships with the package, "yunet" (after `unmask pull yunet`), or the path of an ONNX file.

        A card beside the file (`face_detector.json` for `face_detector.onnx`) gives its name, threshold and the file of
        its second net; without one the file is a face detector alone, with a threshold of 0.7.

        Raises: UnmaskError when there is no such file or it is no face detector.
        """
        path = _FILE if name == "embedded" else pulled(name) if name == "yunet" else Path(name)
        card = FaceDetectorCard.beside(path)
        try:
            refiner = path.with_name(card.refiner).read_bytes() if card.refiner else None
            return cls(path.read_bytes(), card.name or path.stem, threads, card.threshold, refiner)
        except OSError as error:
            raise BundleError(
                f"no face detector at {path} ({error.strerror}); use embedded, yunet or an ONNX file"
            ) from error

    def find(self, image: Pixels, frame: int = 0, t: float = 0.0, *, thorough: bool = False) -> list[Face]:
        """All faces, the surest first.

        The first look has a long side of 320 pixels: in a 1080p frame it finds faces of about 60 pixels and more. Where
        it finds nothing, or nothing but tiny faces, a second look has 640. A `thorough` search takes all looks up to
        1280 and merges them.

        Args:
            image: uint8 (H, W, 3) RGB, of any size.
            frame, t: copied into the faces.
            thorough: for stills, and where small faces beside large ones matter more than time.
        Raises: UnmaskError when `image` is no such array.
        """
        check_picture(image)
        found = self._look(image, LOOKS[0])
        for side, previous in zip(LOOKS[1:] if thorough else LOOKS[1:2], LOOKS, strict=False):
            if max(image.shape[:2]) <= previous:
                break  # the closer look would see the same pixels
            if not thorough and len(found) and _sides(found).max() * previous / max(image.shape[:2]) >= TINY:
                break
            close = self._look(image, side)
            small = _sides(close) * side / max(image.shape[:2]) < LARGE
            found = thin(_joined([found, close[small]]))
        return [
            Face(frame, t, (float(b[0]), float(b[1]), float(b[2]), float(b[3])), points, float(score))
            for score, b, points in zip(found.scores, found.boxes, found.points, strict=True)
        ]

    def _look(self, image: Pixels, side: int) -> Found:
        small, scale = shrink(image, side)
        tensor = pad(small)
        outputs = self._session.run(OUTPUTS, {"input": tensor})
        enough = self.confident if self._refiner is None else EAGER
        found = decode(dict(zip(OUTPUTS, outputs, strict=True)), tensor.shape[3], enough)
        found = Found(found.scores, found.boxes * np.tile(scale, 2), found.points * scale)
        if self._refiner is None or not len(found):
            return found
        points, face = self._refiner.look(image, found.points)
        found = Found(np.sqrt(found.scores * face), found.boxes, points)
        return thin(found[found.scores >= self.confident])


def shrink(image: Pixels, side: int) -> tuple[Pixels, Floats]:
    """`image` with a long side of at most `side`, and the factors (x, y) that lead back to the image.

    Averaging all pixels of a 1080p frame takes as long as finding its faces. Of the rows, two for each row of the
    result are enough; a row's own pixels are all averaged.
    """
    height, width = image.shape[:2]
    factor = max(height, width) / side
    if factor <= 1:
        return image, np.ones(2, np.float32)
    step = max(1, min(int(factor) // 2, height))
    rows = image[(step - 1) // 2 :: step]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    picture = Image.fromarray(np.ascontiguousarray(rows)).resize(small, Image.Resampling.BILINEAR, reducing_gap=1.0)
    return np.asarray(picture), np.array([width / small[0], len(rows) * step / small[1]], np.float32)


def pad(image: Pixels) -> Floats:
    """uint8 (H, W, 3) RGB -> float32 (1, 3, H', W') BGR, 0..255: black to the right and below up to whole cells."""
    height, width = image.shape[:2]
    tensor = np.zeros(
        (1, 3, -(-height // STRIDES[-1]) * STRIDES[-1], -(-width // STRIDES[-1]) * STRIDES[-1]), np.float32
    )
    tensor[0, :, :height, :width] = image.transpose(2, 0, 1)[::-1]
    return tensor


def decode(outputs: dict[str, Floats], width: int, confident: float) -> Found:
    """From the net's twelve outputs for one image, padded to `width`, to faces; overlapping ones are thinned out."""
    parts = []
    for stride in STRIDES:
        cls, obj, box, points = (outputs[f"{kind}_{stride}"][0] for kind in KINDS)
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        (cells,) = np.nonzero(scores >= confident)
        corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1).astype(np.float32)
        centre = (corner + box[cells, :2]) * stride
        half = np.exp(np.minimum(box[cells, 2:], 10)) * (stride / 2)
        parts.append(
            Found(
                scores[cells],
                np.concatenate([centre - half, centre + half], axis=1),
                (corner[:, None] + points[cells].reshape(-1, 5, 2)) * stride,
            )
        )
    return thin(_joined(parts))


def thin(found: Found) -> Found:
    """Non-maximum suppression: of boxes that overlap, the surest stays. The result is sorted, the surest first."""
    found = found[np.argsort(-found.scores, kind="stable")[:MOST]]
    keep: list[int] = []
    left = np.ones(len(found), bool)
    for i in range(len(found)):
        if left[i]:
            keep.append(i)
            left &= overlaps(found.boxes[i], found.boxes) <= OVERLAP
    return found[np.array(keep, np.intp)]


def overlaps(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box (4,) with each of `boxes` (N, 4) -> (N,)."""
    both = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inner = np.prod(np.maximum(both, 0), axis=1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(inner / np.maximum(area + areas - inner, 1e-9), np.float32)


def _joined(parts: list[Found]) -> Found:
    return Found(
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.points for p in parts]),
    )


def _sides(found: Found) -> Floats:
    return np.asarray(np.sqrt(np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)), np.float32)
