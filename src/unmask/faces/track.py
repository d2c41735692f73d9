"""Faces of many frames -> people: the same person is one track.

Frames may lie seconds apart, with cuts in between, so that there is no motion to predict. What remains is where a face
was and how large, in units of its own size, and, where the crops are at hand, what it looked like. Pairs of a track and
a face are joined in the order of their cost, each at most once a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from unmask.types import Face, Floats, Pixels

NEAR = 1.5  # face sides that a face may have moved from one frame to the next
SCALE = 2.0  # factor by which it may have grown or shrunk
THUMB = 16  # side of the thumbnails that are compared, pixels
# Correlations of thumbnails, chosen on eleven people: below UNLIKE lie 1 % of one person's neighbouring frames and 80 %
# of pairs of two people; above ALIKE 85 % and 1 %. With them, on videos put together from real ones with people who cut
# in for each other or change places, 95-100 % of faces are in a track of their own person, without them 60 %.
UNLIKE = 0.4  # two near faces are two people
ALIKE = 0.75  # two faces anywhere in the image are one person
RECENT = 4  # thumbnails of a track that a face is compared with
REMEMBERED = 32  # frames for which a person who is gone is waited for: bounds the work in a long video


@dataclass
class _Track:
    faces: list[Face] = field(default_factory=list)
    thumbs: list[Floats] = field(default_factory=list)
    seen: int = 0  # position of the last frame

    def add(self, position: int, face: Face, thumb: Floats | None) -> None:
        self.seen = position
        self.faces.append(face)
        if thumb is not None:
            self.thumbs = [*self.thumbs[1 - RECENT :], thumb]


def track(frames_faces: Sequence[Sequence[Face]], crops: Sequence[Sequence[Pixels]] | None = None) -> list[list[Face]]:
    """Joins the faces of evenly spaced frames, in order of time, into tracks.

    Args:
        frames_faces: the faces of each frame; none where none was found.
        crops: the aligned crop of each face, (S, S, 3), in the same order; 16 pixels a side suffice. Without them a cut
            to another person in the same place is not seen, and a person who comes back elsewhere is a new one.
    Returns: tracks in order of their first face, each in order of time; every face is in exactly one.
    """
    tracks: list[_Track] = []
    for i, faces in enumerate(frames_faces):
        thumbs = [None] * len(faces) if crops is None else [_thumb(c) for c in crops[i]]
        pairs = [
            (cost, t, f)
            for t, one in enumerate(tracks)
            if i - one.seen <= REMEMBERED
            for f, (face, thumb) in enumerate(zip(faces, thumbs, strict=True))
            if (cost := _cost(one, face, thumb)) is not None
        ]
        free_tracks, free_faces = set(range(len(tracks))), dict.fromkeys(range(len(faces)))
        for _, t, f in sorted(pairs):
            if t in free_tracks and f in free_faces:
                tracks[t].add(i, faces[f], thumbs[f])
                free_tracks.remove(t)
                del free_faces[f]
        for f in free_faces:
            tracks.append(_Track())
            tracks[-1].add(i, faces[f], thumbs[f])
    return [one.faces for one in tracks]


def thumb(crop: Pixels) -> Pixels:
    """(S, S, 3) -> (16, 16, 3): all of a crop that tracking looks at, so that it can stay for every frame."""
    return np.asarray(Image.fromarray(crop).resize((THUMB, THUMB), Image.Resampling.BOX))


def _cost(one: _Track, face: Face, thumb: Floats | None) -> float | None:
    """How little the face fits the track, or None where it cannot be the same person."""
    last = one.faces[-1]
    side = max((last.side + face.side) / 2, 1e-6)
    moved = float(np.hypot(*(_centre(face) - _centre(last)))) / side
    grown = abs(float(np.log(max(face.side, 1e-6) / max(last.side, 1e-6))))
    near = moved <= NEAR and grown <= np.log(SCALE)
    place = min(moved / NEAR, 1.0) + min(grown / float(np.log(SCALE)), 1.0)
    if thumb is None:
        return place if near else None
    alike = max(float(np.mean(thumb * other)) for other in one.thumbs)
    if alike < (UNLIKE if near else ALIKE):
        return None
    return place / 2 + 2 * (1 - alike)


def _centre(face: Face) -> Floats:
    x0, y0, x1, y1 = face.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32)


def _thumb(crop: Pixels) -> Floats:
    """A small copy of zero mean and unit variance per colour: the mean of a product of two is their correlation."""
    small = thumb(crop).astype(np.float32)
    small = small - small.mean(axis=(0, 1))
    return np.asarray(small / max(float(small.std()), 1e-6), np.float32)
