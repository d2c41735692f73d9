"""A face's regions as a map of classes, drawn from its landmarks.

The classes and their numbers are those of the face parser FACER, which FSFM's masks are made from. Landmarks know no
hair: a band over the forehead stands for it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.data.landmarks import INNER_MOUTH, LEFT_BROW, LEFT_EYE, MOUTH, NOSE, RIGHT_BROW, RIGHT_EYE, Landmarks
from unmask.types import Floats, Pixels

CLASSES = (
    "background", "skin", "right brow", "left brow", "right eye", "left eye", "nose",
    "upper lip", "inner mouth", "lower lip", "hair",
)  # fmt: skip
BROW = 0.12  # height of a brow in distances of the eyes; landmarks mark its line
HAIR = 0.35  # width of the band over the forehead, likewise


def parsing(face: Landmarks, side: int) -> Pixels:
    """uint8 (side, side), indices into `CLASSES`; `face` in pixels of that square."""
    drawn: NDArray[np.uint8] = np.zeros((side, side), np.uint8)
    ridge, outline, eyes = face.points[27] - face.points[8], face.outline, face.five[:2]
    unit = float(np.linalg.norm(eyes[1] - eyes[0]))
    up = ridge / np.linalg.norm(ridge) * unit  # from the chin to the brows, one distance of the eyes
    above = outline[(outline - eyes.mean(0)) @ up > 0]
    away = above - outline.mean(0)
    band = above + away * (HAIR * unit / np.linalg.norm(away, axis=1, keepdims=True))
    upper, inner = face.at(MOUTH)[:7], face.at(INNER_MOUTH)
    for name, polygon in (
        ("hair", np.concatenate([above, band])),
        ("skin", outline),
        ("right brow", _thick(face.at(RIGHT_BROW), up * BROW)),
        ("left brow", _thick(face.at(LEFT_BROW), up * BROW)),
        ("right eye", face.at(RIGHT_EYE)),
        ("left eye", face.at(LEFT_EYE)),
        ("nose", face.at(NOSE)),
        ("lower lip", face.at(MOUTH)),
    ):
        cv2.fillConvexPoly(drawn, cv2.convexHull(_pixels(polygon)), CLASSES.index(name))
    cv2.fillPoly(drawn, [_pixels(np.concatenate([upper, inner[4::-1]]))], CLASSES.index("upper lip"))
    cv2.fillConvexPoly(drawn, cv2.convexHull(_pixels(inner)), CLASSES.index("inner mouth"))
    return drawn


def _thick(line: Floats, up: Floats) -> Floats:
    return np.concatenate([line - up / 2, line + up / 2])


def _pixels(polygon: Floats) -> NDArray[np.int32]:
    return np.asarray(polygon).round().astype(np.int32)
