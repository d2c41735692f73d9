"""Faces cut out once, and training views of them: placed as a face detector's erring points would, coarsened, covered.

Geometry moves pixels and labels by one matrix; light, blur, codecs and covers move no label, so that a net learns to
tell where a hidden point must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.face_detector.scenes import Composer, distort, paint, without_faces
from training.face_detector.sources import SURE, Fold, Picture, Teacher, frames, overlap, read, stills, videos
from unmask.faces.align import TEMPLATES, align, matrix
from unmask.faces.detector import FaceDetector
from unmask.faces.refinement import MIRRORED, SPEC
from unmask.types import Floats, InputSpec, Pixels, UnmaskError

STORED = InputSpec(size=144, margin=2.4)  # views are cut from crops a little wider and finer than the net's own
SMALLEST = 20.0  # px: the teacher's points of smaller faces are too rough to be trained
APART = 0.1  # IoU with every face the teacher sees, doubtful ones too, below which a find is none
OTHERS = 0.4  # of a batch: what is no face
MOST_OTHERS = 12  # of one image
plain = Composer([]).texture  # flat, shaded and noisy areas


@dataclass(frozen=True)
class Closeups:
    """N faces with their points, M crops without a face."""

    faces: NDArray[np.uint8]  # (N, 144, 144, 3) RGB
    points: Floats  # (N, 5, 2) the teacher's, in pixels of the crop
    others: NDArray[np.uint8]  # (M, 144, 144, 3) RGB


# --- gathering -------------------------------------------------------------------------------------------------------


def originals(data: Path, fold: Fold, dfdc: int = 4000, per_clip: int = 30) -> Iterator[Pixels]:
    """Stills and frames of a fold at their own size, BGR."""
    for path in stills(data, fold, dfdc):
        image = read(path)
        if image is not None:
            yield image
    for clip in videos(data, fold):
        yield from (image for _, image in frames(clip, per_clip))


def faces_of(pictures: Iterable[Pixels], teacher: Teacher) -> tuple[Pixels, Floats]:
    """The faces that the teacher is sure of, cut by its own points: (N, 144, 144, 3) RGB, (N, 5, 2)."""
    crops, points = [], []
    for image in pictures:
        for row in teacher.faces(image):
            if row[14] < SURE or np.sqrt((row[2] - row[0]) * (row[3] - row[1])) < SMALLEST:
                continue
            five = row[4:14].reshape(5, 2)
            try:
                place = matrix(five, STORED)
            except UnmaskError:  # the looks disagree so far that their mean is no face
                continue
            crops.append(align(np.ascontiguousarray(image[:, :, ::-1]), place, STORED.size, fine=False))
            points.append(moved(five, place))
    return np.stack(crops), np.stack(points)


def others_of(pictures: list[Picture], face_detector: FaceDetector) -> Pixels:
    """What is no face, (M, 144, 144, 3) RGB: false positives at a low threshold, and any places."""
    rng = np.random.default_rng(0)
    texture = Composer(pictures).texture
    crops: list[Pixels] = []
    for index, picture in enumerate(pictures):
        found = [(picture.image, picture.faces)]
        if len(picture.faces) and index % 2:
            found.append((without_faces(rng, picture, texture), picture.faces[:0]))
        for image, taboo in found:
            rgb = np.ascontiguousarray(image[:, :, ::-1])
            finds = face_detector.find(rgb, thorough=True)
            places = [(np.array(find.box, np.float32), find.points) for find in finds[:MOST_OTHERS]]
            places += [anywhere(rng, image) for _ in range(1 if len(picture.faces) else 8)]
            for box, five in places:
                if len(taboo) and overlap(box[None], taboo[:, :4]).max() >= APART:
                    continue
                try:
                    crops.append(align(rgb, matrix(five, STORED), STORED.size, fine=False))
                except UnmaskError:  # five points that span no face are refused at a scan too
                    continue
    return np.stack(crops)


def anywhere(rng: Generator, image: Pixels) -> tuple[Floats, Floats]:
    """A box (4,) somewhere in the image, and the points that a face would have there, turned a little."""
    height, width = image.shape[:2]
    side = min(height, width) * float(np.exp(rng.uniform(np.log(0.06), np.log(0.8))))
    centre = rng.uniform((0, 0), (width, height))
    turn = np.deg2rad(rng.normal(0, 20))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    template = TEMPLATES[SPEC.template] - 0.5
    return (
        np.array([*(centre - side / 2), *(centre + side / 2)], np.float32),
        np.asarray(template * side @ rotation.T + centre, np.float32),
    )


def save(closeups: Closeups, path: Path) -> None:
    np.savez(path, faces=closeups.faces, points=closeups.points, others=closeups.others)


def restore(path: Path) -> Closeups:
    """What `save` wrote. Raises: UnmaskError for crops of another size."""
    with np.load(path, allow_pickle=False) as stored:
        closeups = Closeups(stored["faces"], stored["points"], stored["others"])
    if closeups.faces.shape[1:] != (STORED.size, STORED.size, 3):
        raise UnmaskError(f"{path} holds close-ups of another kind: remove it, and they are made anew")
    return closeups


# --- views -----------------------------------------------------------------------------------------------------------


def batch(
    closeups: Closeups, rng: Generator, size: int, rough: float = 1.0
) -> tuple[Pixels, Floats, NDArray[np.bool_]]:
    """`size` views at random: uint8 (size, 80, 80, 3) RGB, points (size, 5, 2) in 0..1, which of them are faces."""
    views = [other(closeups, rng) if rng.random() < OTHERS else face(closeups, rng, rough) for _ in range(size)]
    return (
        np.stack([image for image, _ in views]),
        np.stack([np.zeros((5, 2), np.float32) if points is None else points for _, points in views]),
        np.array([points is not None for _, points in views]),
    )


def face(closeups: Closeups, rng: Generator, rough: float = 1.0) -> tuple[Pixels, Floats]:
    """A face as the net may meet it: uint8 (80, 80, 3) RGB and its points (5, 2) in 0..1.

    Args:
        rough: how far it strays from what a scan meets, in place and in what covers it; 1: much farther.
    """
    index = int(rng.integers(len(closeups.points)))
    crop, points = closeups.faces[index], closeups.points[index]
    if rng.random() < 0.5:
        crop, points = crop[:, ::-1], (points * [-1, 1] + [crop.shape[1], 0])[MIRRORED]
    place = placed(points, rng, SPEC, wrong=0.07 * rough, turn=8 * rough, zoom=0.1 * rough, shift=0.03 * rough)
    image = cut(crop, place, SPEC.size)
    if rng.random() < 0.3 * rough:
        cover(image, closeups.faces, rng)
    return distort(rng, coarse(image, rng)), moved(points, place) / np.float32(SPEC.size)


def other(closeups: Closeups, rng: Generator) -> tuple[Pixels, None]:
    """What is no face, as the net may meet it: uint8 (80, 80, 3) RGB."""
    crop = closeups.others[int(rng.integers(len(closeups.others)))]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    five = STORED.size * (0.5 + (TEMPLATES[SPEC.template] - 0.5) / STORED.margin)
    place = placed(np.asarray(five, np.float32), rng, SPEC, wrong=0.1, turn=15, zoom=0.2, shift=0.06)
    return distort(rng, coarse(cut(crop, place, SPEC.size), rng)), None


def placed(
    five: Floats, rng: Generator, spec: InputSpec, *, wrong: float, turn: float, zoom: float, shift: float
) -> Floats:
    """The matrix (2, 3) to a net's input by five points that err, then turned, zoomed and shifted a little more.

    Args:
        wrong: of each point, in eye distances; turn: degrees; zoom: of the logarithm; shift: in sides of the crop. All
            are standard deviations; of the last three every fifth view has 2.5 times as much.
    """
    eyes = float(np.linalg.norm(five[0] - five[1]))
    wide = 2.5 if rng.random() < 0.2 else 1.0
    wrongly = five + rng.normal(0, wrong * eyes, five.shape).astype(np.float32)
    angle, factor = np.deg2rad(rng.normal(0, turn * wide)), np.exp(rng.normal(0, zoom * wide))
    linear = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, spec.size / 2)
    away = middle - linear @ middle + rng.normal(0, shift * wide * spec.size, 2)
    first = matrix(wrongly, spec)
    return np.column_stack([linear @ first[:, :2], linear @ first[:, 2] + away]).astype(np.float32)


def cut(crop: Pixels, place: Floats, size: int) -> Pixels:
    """A net's input from a stored crop, which is about as fine. Edges repeat, as in `align`."""
    centres = place.astype(np.float64)
    centres[:, 2] += place[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV counts from pixel centres
    return np.asarray(
        cv2.warpAffine(np.ascontiguousarray(crop), centres, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def coarse(image: Pixels, rng: Generator) -> Pixels:
    """Now and then what is left of a face of 16 to 64 pixels."""
    if rng.random() > 0.2:
        return image
    side = round(float(np.exp(rng.uniform(np.log(24), np.log(80)))))  # of the crop; the face takes two thirds of it
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[:2], interpolation=int(rng.choice([1, 2]))), np.uint8)


def cover(image: Pixels, crops: NDArray[np.uint8], rng: Generator) -> None:
    """Hide a box or an ellipse, in place: under a colour, a texture, or a piece of another crop as a hand would."""
    size = image.shape[0]
    width, height = rng.uniform(0.1, 0.5, 2) * size
    x, y = rng.uniform(-0.1, 0.95, 2) * size
    paint(rng, image, np.clip([x, y, x + width, y + height], 0, size).astype(int), lambda *asked: _piece(crops, *asked))


def _piece(crops: NDArray[np.uint8], rng: Generator, height: int, width: int) -> Pixels:
    if rng.random() < 0.5:
        return plain(rng, height, width)
    other = crops[int(rng.integers(len(crops)))]
    y, x = rng.integers(other.shape[0] - height + 1), rng.integers(other.shape[1] - width + 1)
    return np.asarray(other[y : y + height, x : x + width], np.uint8)


def moved(points: Floats, place: Floats) -> Floats:
    """Points (..., 2) under a matrix (2, 3)."""
    return np.asarray(points @ place[:, :2].T + place[:, 2], np.float32)
