"""Training views: crops re-aligned with jittered landmarks, plus photometric augmentation."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from training.face_detector.closeups import coarse, cover, cut, moved, placed
from training.face_detector.scenes import distort
from training.landmarker.sources import Faces
from unmask.faces.align import matrix
from unmask.faces.landmarker import SPEC
from unmask.faces.refinement import MIRRORED as FIVE_MIRRORED
from unmask.faces.regions import MIRRORED
from unmask.types import Floats, Pixels

WRONG = 0.05  # of the five points, in eye distances: about what our face detector and YuNet differ by


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
    place = placed(five, rng, SPEC, wrong=WRONG, turn=6, zoom=0.06, shift=0.025)
    image = cut(crop, place, SPEC.size)
    if rng.random() < 0.4:
        cover(image, faces.crops, rng)
    return distort(rng, coarse(image, rng)), moved(points, place) / np.float32(SPEC.size)


def mean_shape(faces: Faces) -> Floats:
    """(81, 2) in 0..1: the mean over faces aligned by their five points, and over mirrored faces too."""
    aligned = np.stack([moved(p, matrix(f, SPEC)) for p, f in zip(faces.points, faces.five, strict=True)])
    mean = aligned.mean(axis=0) / SPEC.size
    other = mean[list(MIRRORED)] * [-1, 1] + [1, 0]
    return np.asarray((mean + other) / 2, np.float32)
