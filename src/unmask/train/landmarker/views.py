"""Training views: a stored crop aligned anew by five points that err as a finder's do, and what befalls pictures.

Geometry moves pixels and labels by one matrix; light, blur, codecs and covers move no label, so that the net learns to
tell where a hidden point must be.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from unmask.faces.align import matrix
from unmask.faces.landmarker import SPEC
from unmask.faces.regions import MIRRORED
from unmask.nouns import Floats, Pixels
from unmask.train.finder.scenes import Composer, distort, paint
from unmask.train.landmarker.sources import Faces, moved

FIVE_MIRRORED = [1, 0, 2, 4, 3]
WRONG = 0.05  # of the five points, in eye distances: about what our finder and YuNet differ by
plain = Composer([]).texture  # flat, shaded and noisy areas


def batch(faces: Faces, rng: Generator, size: int) -> tuple[Pixels, Floats]:
    """`size` views of faces drawn at random -> uint8 (size, 112, 112, 3) RGB, points (size, 81, 2) in 0..1."""
    chosen = rng.integers(len(faces), size=size)
    views = [view(faces, int(i), rng) for i in chosen]
    return np.stack([image for image, _ in views]), np.stack([points for _, points in views])


def view(faces: Faces, index: int, rng: Generator) -> tuple[Pixels, Floats]:
    """One face as the net may meet it: uint8 (112, 112, 3) RGB and its points (81, 2) in 0..1."""
    crop, points, five = faces.crops[index], faces.points[index], faces.five[index]
    if rng.random() < 0.5:
        over = np.array([[-1, 0, crop.shape[1]], [0, 1, 0]], np.float32)
        crop, points, five = crop[:, ::-1], moved(points, over)[list(MIRRORED)], moved(five, over)[FIVE_MIRRORED]
    place = placed(five, rng)
    image = cut(crop, place)
    if rng.random() < 0.4:
        cover(image, faces, rng)
    return distort(rng, coarse(image, rng)), moved(points, place) / np.float32(SPEC.size)


def placed(five: Floats, rng: Generator) -> Floats:
    """The matrix (2, 3) to the net's input by five points that err, then turned, zoomed and shifted a little more."""
    eyes = float(np.linalg.norm(five[0] - five[1]))
    wide = 2.5 if rng.random() < 0.2 else 1.0
    wrong = five + rng.normal(0, WRONG * eyes, five.shape).astype(np.float32)
    turn, zoom = np.deg2rad(rng.normal(0, 6 * wide)), np.exp(rng.normal(0, 0.06 * wide))
    linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.full(2, SPEC.size / 2)
    shift = middle - linear @ middle + rng.normal(0, 0.025 * wide * SPEC.size, 2)
    first = matrix(wrong, SPEC)
    return np.column_stack([linear @ first[:, :2], linear @ first[:, 2] + shift]).astype(np.float32)


def cut(crop: Pixels, place: Floats) -> Pixels:
    """The net's input from a stored crop, which is about as fine. Edges repeat, as in `align`."""
    centres = place.astype(np.float64)
    centres[:, 2] += place[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV counts from pixel centres
    size = (SPEC.size, SPEC.size)
    return np.asarray(
        cv2.warpAffine(np.ascontiguousarray(crop), centres, size, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def coarse(image: Pixels, rng: Generator) -> Pixels:
    """Now and then what is left of a face of 16 to 64 pixels."""
    if rng.random() > 0.2:
        return image
    side = round(float(np.exp(rng.uniform(np.log(24), np.log(80)))))  # of the crop; the face takes two thirds of it
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[:2], interpolation=int(rng.choice([1, 2]))), np.uint8)


def cover(image: Pixels, faces: Faces, rng: Generator) -> None:
    """Hide a box or an ellipse, in place: under a colour, a texture, or a piece of another face as a hand would."""
    size = SPEC.size
    width, height = rng.uniform(0.1, 0.5, 2) * size
    x, y = rng.uniform(-0.1, 0.95, 2) * size
    paint(rng, image, np.clip([x, y, x + width, y + height], 0, size).astype(int), lambda *asked: _piece(faces, *asked))


def _piece(faces: Faces, rng: Generator, height: int, width: int) -> Pixels:
    if rng.random() < 0.5:
        return plain(rng, height, width)
    other = faces.crops[int(rng.integers(len(faces)))]
    y, x = rng.integers(other.shape[0] - height + 1), rng.integers(other.shape[1] - width + 1)
    return np.asarray(other[y : y + height, x : x + width], np.uint8)


def mean_shape(faces: Faces) -> Floats:
    """(81, 2) in 0..1: the mean over faces aligned by their five points, and over mirrored faces too."""
    aligned = np.stack([moved(p, matrix(f, SPEC)) for p, f in zip(faces.points, faces.five, strict=True)])
    mean = aligned.mean(axis=0) / SPEC.size
    other = mean[list(MIRRORED)] * [-1, 1] + [1, 0]
    return np.asarray((mean + other) / 2, np.float32)
