"""Real faces of the research collection, and what the teacher sees in them.

People are held out by the collection's own splits (`training.collection`): DFDC by actor, LFW by person, UTKFace and
FFHQ by file; FaceForensics++ and CIPLAB are test only. Forged faces take no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import collection
from training.face_detector.closeups import moved
from training.face_detector.sources import frames, read
from training.landmarker.teacher import Teacher, eye_distance
from unmask.data.manifest import Split
from unmask.faces import FaceDetector
from unmask.faces.align import align, matrix
from unmask.faces.regions import COUNT
from unmask.types import Floats, InputSpec, Pixels, UnmaskError

FRAMES = 8  # of each video
PRESENT = 0.9  # below it the teacher itself is not sure of a face
STEADY = 0.06  # eye distances: where its looks differ by more, the teacher's points are not trained
STORED = InputSpec(size=192, margin=2.2)  # training views are cut from crops a little finer than the net's own


@dataclass(frozen=True)
class Faces:
    """N labelled faces. `crops` may be a file on disk: it is read as it is needed."""

    crops: NDArray[np.uint8]  # (N, 192, 192, 3) RGB
    points: Floats  # (N, 81, 2) the teacher's, in pixels of the crop
    five: Floats  # (N, 5, 2) the face detector's

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Shot:
    """An image, or a frame, with a real face that the face detector found."""

    set: str
    group: str  # leakage group: actor, person, pair of videos, or the file
    image: Pixels  # RGB
    five: Floats


def shots(data: Path, split: Split, face_detector: FaceDetector) -> Iterator[Shot]:
    """The largest face of every real image of a split, and of eight frames of every real video."""
    if not (data / "MANIFEST.csv.gz").is_file():
        raise UnmaskError(f"{data} holds no MANIFEST.csv.gz; --data wants the research collection")
    for row in collection.usable(data):
        if row.split != split or row.label:
            continue
        path = data / row.path
        still = None if path.suffix == ".mp4" else read(path)
        seen = (image for _, image in frames(path, FRAMES)) if path.suffix == ".mp4" else filter(_is, [still])
        for bgr in seen:
            if bgr is None:
                continue
            image = np.ascontiguousarray(bgr[:, :, ::-1])
            faces = face_detector.find(image)
            if faces:
                yield Shot(row.set, row.group, image, max(faces, key=lambda face: face.side).points)


def _is(image: Pixels | None) -> bool:
    return image is not None


def label(data: Path, split: Split, teacher: Teacher, face_detector: FaceDetector, into: Path) -> None:
    """Write the faces of a split that the teacher is sure of: `crops.npy`, and `points.npz` last."""
    into.mkdir(parents=True, exist_ok=True)
    crops, points, fives, unsure = [], [], [], 0
    for shot in shots(data, split, face_detector):
        seen = teacher.see(shot.image, shot.five)
        if seen.presence < PRESENT or seen.spread > STEADY:
            unsure += 1
            continue
        place = matrix(shot.five, STORED)
        crops.append(align(shot.image, place, STORED.size))
        points.append(moved(seen.points, place))
        fives.append(moved(shot.five, place))
    print(f"{split}: {len(crops)} faces labelled, {unsure} left out: the teacher is not sure of them", flush=True)
    np.save(into / "crops.npy", np.stack(crops))
    np.savez(into / "points.npz", points=np.stack(points), five=np.stack(fives))


def restore(folder: Path) -> Faces:
    """What `label` wrote. Raises: UnmaskError for files that do not fit each other."""
    crops = np.load(folder / "crops.npy", mmap_mode="r", allow_pickle=False)
    with np.load(folder / "points.npz", allow_pickle=False) as stored:
        points, five = stored["points"], stored["five"]
    if points.shape != (len(crops), COUNT, 2) or five.shape != (len(crops), 5, 2):
        raise UnmaskError(f"{folder} holds labels of another kind: remove it, and they are made anew")
    return Faces(crops, points, five)


__all__ = ["Faces", "Shot", "eye_distance", "label", "moved", "restore", "shots"]
