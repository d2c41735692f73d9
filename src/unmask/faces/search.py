"""The face search over one file: closer where an image is large, turned where it lies on its side.

A face detector is trained on upright faces. Of 120 portraits (LFW) turned by 90, 180 and 270 degrees it finds 8, 21 and
5 %, and those with points in the wrong places; turned back, all of them. So where an upright look finds nothing, or
nothing that it is sure of, the frame is turned. Upright faces score 0.96 and more in 95 of 100 portraits of LFW and of
UTKFace, turned ones that are found all the same less in 69 of 70.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unmask.faces.detector import LOOKS, OVERLAP, TINY, FaceDetector, overlaps
from unmask.types import Face, Floats, Frame, Pixels

SURE = 0.96  # a face that is found upright with this score stands upright
ENOUGH = 0.92  # least score of a find in a turned frame: more looks see more faces in clouds
TRIES = 8  # frames of a video that are turned in vain before it is left alone
EVERY = 4  # of the frames of a video, one in so many is tried
QUARTERS = (1, 3, 2)  # turns counter-clockwise, by 90 degrees each
TILE, SHARED = 3200, 400  # side of a tile and of what neighbours share, pixels: a look of 1280 sees 40 px as 16
MOST_TILES = 64


class FaceSearch:
    """Finds the faces of one file, frame by frame: upright first, and turned where that finds nothing to be sure of.

    In a video the turn that has led to a face is tried in later frames, too. Where none does, looking stops after
    TRIES frames, and as soon as a face is found that stands upright. The first look at a turned frame has a long side
    of 640 pixels at most: an image without faces, which most are, shall not cost four times as much.
    """

    def __init__(self, detector: FaceDetector, *, still: bool) -> None:
        self._detector, self._still = detector, still
        self._turn = 0  # quarters that have led to a face
        self._seen = self._tried = 0

    def find(self, frame: Frame) -> list[Face]:
        """All faces in pixels of the frame as it is, the surest first; `Face.turned` says how they were found."""
        faces = self._detector.find(frame.image, frame.index, frame.t, thorough=self._still)
        if self._still and not faces and max(frame.image.shape[:2]) > TILE:
            faces = self._in_tiles(frame)
        self._seen += 1
        if faces and faces[0].score >= SURE:
            self._tried = self._tried if self._turn else TRIES
            return faces
        if self._turn:
            return merged(faces, self._look(frame, self._turn, thorough=self._still))
        if self._tried >= TRIES or (not self._still and self._seen % EVERY != 1):
            return faces
        self._tried += 1
        looks = {quarters: self._look(frame, quarters, thorough=False) for quarters in QUARTERS}
        best = max(looks, key=lambda quarters: max((face.score for face in looks[quarters]), default=0.0))
        if looks[best] and self._still:
            looks[best] = self._look(frame, best, thorough=True)
        found = merged(faces, looks[best])
        if any(face.turned for face in found):
            self._turn = best
        return found

    def _in_tiles(self, frame: Frame) -> list[Face]:
        """Faces too small for a look at the whole image."""
        height, width = frame.image.shape[:2]
        corners = [(y, x) for y in tiles(height) for x in tiles(width)]
        found: list[Face] = []
        for y, x in corners[:MOST_TILES]:
            tile = np.ascontiguousarray(frame.image[y : y + TILE, x : x + TILE])
            faces = self._detector.find(tile, frame.index, frame.t, thorough=True)
            found = merged(found, [moved(face, x, y) for face in faces])
        return found

    def _look(self, frame: Frame, quarters: int, *, thorough: bool) -> list[Face]:
        image = np.ascontiguousarray(np.rot90(frame.image, quarters))
        found = self._detector.find(image, frame.index, frame.t, thorough=thorough)
        return [back(face, frame.image, quarters) for face in found if face.score >= ENOUGH]


def merged(upright: list[Face], turned: list[Face]) -> list[Face]:
    """Both, the surest first; of two in one place the surer."""
    kept: list[Face] = []
    for face in sorted([*upright, *turned], key=lambda face: -face.score):
        others = np.array([other.box for other in kept], np.float32).reshape(-1, 4)
        if not (overlaps(np.array(face.box, np.float32), others) > OVERLAP).any():
            kept.append(face)
    return kept


def tiles(length: int) -> list[int]:
    """Where tiles begin that cover `length` pixels and share SHARED with their neighbours."""
    return list(range(0, max(length - SHARED, 1), TILE - SHARED))


def smallest(width: int, height: int, *, still: bool) -> float:
    """About the size of the smallest face that the search finds in such an image, pixels."""
    if not still:
        return TINY * max(width, height) / LOOKS[1]
    return TINY * min(max(width, height), TILE) / LOOKS[-1]


def moved(face: Face, x: int, y: int) -> Face:
    """The face of a tile at (x, y), in pixels of the image."""
    x0, y0, x1, y1 = face.box
    return replace(face, box=(x0 + x, y0 + y, x1 + x, y1 + y), points=face.points + np.array([x, y], np.float32))


def back(face: Face, image: Pixels, quarters: int) -> Face:
    """A face of `np.rot90(image, quarters)`, in pixels of `image`."""
    height, width = image.shape[:2]
    corners = np.array(face.box, np.float32).reshape(2, 2)
    box = _back(corners, width, height, quarters)
    (x0, y0), (x1, y1) = box.min(axis=0).tolist(), box.max(axis=0).tolist()
    points = _back(face.points, width, height, quarters)
    return replace(face, box=(x0, y0, x1, y1), points=points, turned=90 * quarters)


def _back(points: Floats, width: int, height: int, quarters: int) -> Floats:
    x, y = points[:, 0], points[:, 1]
    where = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters]
    return np.stack(where, axis=1).astype(np.float32)
