"""One person through a window of frames in a row: the input of a video detector.

All frames of a window are cut by one matrix, that of the person's mean points: what moves in the crops is the face, not
the detector's guess of where it is. A person counts only where the face was found in every frame, and looks alike from
frame to frame: a window never joins two scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unmask.errors import InputError, UnmaskError
from unmask.faces.align import align, matrix
from unmask.faces.track import thumb, track
from unmask.types import Crop, Face, Floats, Frame, InputSpec


@dataclass(frozen=True)
class Window:
    """`faces`: one of each frame, in order of time; `crop`: its face is their mean, its image (T, S, S, 3)."""

    faces: tuple[Face, ...]
    crop: Crop


def windows(frames: Sequence[Frame], found: Sequence[Sequence[Face]], spec: InputSpec) -> list[Window]:
    """The people who are in sight in all of these frames, the largest first.

    Args:
        frames: T frames in a row; `found`: the faces of each.
    """
    through = [one for one in track(found) if len(one) == len(frames)]
    through.sort(key=lambda one: -mean_face(one).side)
    kept = []
    for faces in through:
        face = mean_face(faces)
        try:
            m = mean_matrix(faces, spec)
            image = np.stack([align(frame.image, m, spec.size) for frame in frames])
        except UnmaskError:  # five points that span no face: a false detection
            continue
        if len(track([[one] for one in faces], [[thumb(picture)] for picture in image])) == 1:
            kept.append(Window(tuple(faces), Crop(face, m, image)))
    return kept


def mean_face(faces: Sequence[Face]) -> Face:
    """The middle one of a person's faces, with the mean of their boxes, points and confidences."""
    x0, y0, x1, y1 = np.mean([face.box for face in faces], axis=0).tolist()
    points = np.mean([face.points for face in faces], axis=0).astype(np.float32)
    score = float(np.mean([face.score for face in faces]))
    return replace(faces[len(faces) // 2], box=(x0, y0, x1, y1), points=points, score=score)


def mean_matrix(faces: Sequence[Face], spec: InputSpec) -> Floats:
    """(2, 3), the one alignment of a window, see `matrix`. Raises: UnmaskError as that does, and without faces."""
    if not faces:
        raise InputError("a window without faces cannot be aligned")
    return matrix(np.mean([face.points for face in faces], axis=0), spec)
