"""Images for the face detector, and what the teacher sees in them.

The teacher is YuNet (Apache-2.0). It reads every source image at several scales; what the scales agree on is
averaged, which takes out much of its noise. Folds are decided by person where the person is known, by leak group for
FaceForensics++, by file name elsewhere, so that the same division comes out on every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.faces.detector import OUTPUTS, decode, pad
from unmask.faces.refinement import MIRRORED
from unmask.faces.session import session
from unmask.types import Floats, Pixels, UnmaskError

Fold = Literal["train", "validation", "test"]
SURE = 0.8  # a face of the teacher that is trained; between DOUBTFUL and SURE nothing is trained
DOUBTFUL = 0.3
SIDES = (192, 320, 448)  # long sides at which the teacher reads an image
CLOSE_SIDES = (224, 320, 416, 512)  # where points are wanted as exact as the teacher can tell them
KEPT_SIDE = 448  # images are kept in memory at this long side at most
TEST_VIDEOS = frozenset({"672", "720", "828", "830"})  # two whole leak groups of FaceForensics++
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class Picture:
    """A source image and its faces. Coordinates are continuous: pixel i spans i..i+1."""

    name: str  # "<set>/<path>" or "negative/<path>"; "#<frame>" for a frame of a video
    image: Pixels  # (H, W, 3) BGR
    faces: Floats  # (G, 15): x0, y0, x1, y1, 5 x (x, y), the teacher's score


def fold_of(key: str) -> Fold:
    """Two tenths test, one tenth validation, by the key's hash."""
    tenth = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 10
    return "test" if tenth < 2 else "validation" if tenth == 2 else "train"


# --- where the images are ------------------------------------------------------------------------------------------


def stills(data: Path, fold: Fold, dfdc: int) -> Iterator[Path]:
    """Paths of the still images of one fold, in a fixed order; `dfdc`: about how many crops of training actors."""
    for name in ("140k_stylegan256", "ciplab_photoshop", "utkface_crop"):
        yield from (p for p in _pictures(data / name) if fold_of(p.stem) == fold)
    yield from (p for p in _pictures(data / "lfw_deepfunneled") if fold_of(p.parent.name) == fold)
    if fold == "train":
        rows = (data / "dfdc_faces224" / "splits.csv").read_text().splitlines()[1:]
        train = sorted(path for path, split in (row.split(",") for row in rows) if split == "train")
        yield from (data / path for path in train[:: max(1, len(train) // dfdc)])


def videos(data: Path, fold: Fold) -> list[Path]:
    """Videos of FaceForensics++: held out by leak group, so validation has none."""
    clips = sorted((data / "ffpp_c23_videos").rglob("*.mp4"))
    wanted = {"train": False, "test": True}
    return [clip for clip in clips if (clip.parent.name in TEST_VIDEOS) is wanted.get(fold)]


def negatives(folders: list[Path], fold: Fold) -> list[Path]:
    """Faceless images of one fold, half of all for the test. Of a motif in many sizes, the largest file is taken."""
    motifs: dict[str, Path] = {}
    for folder in folders:
        for path in _pictures(folder):
            plasma = "contents" in path.parts  # <motif>/contents/images/<size>.png
            motif = path.parts[path.parts.index("contents") - 1] if plasma else re.split(r"[_-]", path.stem)[0]
            key = f"{motif}/{path.parent.name if plasma else path.stem.partition('_')[0]}"
            if path.stem != "screenshot" and (key not in motifs or path.stat().st_size > motifs[key].stat().st_size):
                motifs[key] = path
    return [path for key, path in sorted(motifs.items()) if _negative_fold(key.partition("/")[0]) == fold]


def _negative_fold(motif: str) -> Fold:
    eighth = int(hashlib.sha256(motif.encode()).hexdigest()[:8], 16) % 8
    return "test" if eighth < 4 else "validation" if eighth == 4 else "train"


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UnmaskError(
            f"no folder {folder}; --data wants the folder that holds lfw_deepfunneled/, utkface_crop/ and the others"
        )
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: Path) -> Pixels | None:
    """BGR, upright; None if it cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, dtype=np.uint8)


def frames(clip: Path, count: int) -> Iterator[tuple[int, Pixels]]:
    """`count` frames (BGR) evenly spaced over the video, with their indices."""
    film = cv2.VideoCapture(str(clip))
    total = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = {int(i) for i in np.linspace(0, max(total - 1, 0), count + 2)[1:-1]}
    for index in range(total):
        if not film.grab():
            break
        if index in wanted:
            good, image = film.retrieve()
            if good:
                yield index, np.asarray(image, dtype=np.uint8)
    film.release()


def shrink(image: Pixels, side: int) -> Pixels:
    """Long side at most `side`, averaging what falls into a pixel."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


# --- the teacher -----------------------------------------------------------------------------------------------------


class Teacher:
    """YuNet at several scales and, where asked, of the mirrored image too."""

    def __init__(self, path: Path, sides: Sequence[int] = SIDES, *, mirrored: bool = False) -> None:
        if not path.is_file():
            raise UnmaskError(
                f"no teacher at {path}; --teacher wants YuNet's dynamic ONNX file (OpenCV Zoo, Apache-2.0)"
            )
        self.net = session(path.read_bytes(), "teacher", threads=1)
        self.sides, self.mirrored = sides, mirrored

    def faces(self, image: Pixels) -> Floats:
        """(G, 15) as in `Picture.faces`; boxes of several looks that overlap become one, weighted by score."""
        looks = [self._at(image, side) for side in self.sides]
        if self.mirrored:
            over = np.ascontiguousarray(image[:, ::-1])
            looks += [_back(self._at(over, side), image.shape[1]) for side in self.sides]
        seen = np.concatenate(looks)
        merged: list[Floats] = []
        while len(seen):
            best = seen[seen[:, -1].argmax()]
            same = overlap(best[None, :4], seen[:, :4])[0] > 0.5
            merged.append(np.average(seen[same], axis=0, weights=seen[same, -1] ** 2))
            merged[-1][-1] = best[-1]
            seen = seen[~same]
        return np.stack(merged).astype(np.float32) if merged else np.zeros((0, 15), np.float32)

    def _at(self, image: Pixels, side: int) -> Floats:
        height, width = image.shape[:2]
        scale = side / max(height, width)
        size = (max(32, round(width * scale)), max(32, round(height * scale)))
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        tensor = pad(np.asarray(scaled[:, :, ::-1], np.uint8))
        said = dict(zip(OUTPUTS, self.net.run(OUTPUTS, {"input": tensor}), strict=True))
        found = decode(said, tensor.shape[3], DOUBTFUL)
        rows = np.concatenate([found.boxes, found.points.reshape(-1, 10), found.scores[:, None]], axis=1)
        rows[:, :14] *= np.tile([width / size[0], height / size[1]], 7).astype(np.float32)
        return rows


def _back(rows: Floats, width: int) -> Floats:
    """Faces (G, 15) of a mirrored image, where they are in the image itself."""
    points = rows[:, 4:14].reshape(-1, 5, 2)[:, MIRRORED] * [-1, 1] + [width, 0]
    low, high = width - rows[:, 2], width - rows[:, 0]
    return np.column_stack([low, rows[:, 1], high, rows[:, 3], points.reshape(-1, 10), rows[:, 14]]).astype(np.float32)


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> Floats:
    """IoU of boxes (N, 4) with boxes (M, 4) -> (N, M)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=1) for x in (a, b))
    return np.asarray(common / np.maximum(area_a[:, None] + area_b[None] - common, 1e-9), dtype=np.float32)


# --- everything together, kept in one file ---------------------------------------------------------------------------


def labelled(
    data: Path, folders: list[Path], teacher: Path, fold: Fold, *, dfdc: int = 1500, per_clip: int = 14
) -> list[Picture]:
    """All images of a fold with the teacher's faces; negatives in which it is sure of a face are left out."""
    model = Teacher(teacher)
    result: list[Picture] = []
    for path in stills(data, fold, dfdc):
        image = read(path)
        if image is not None:
            result.append(_label(str(path.relative_to(data)), image, model))
    for clip in videos(data, fold):
        for index, image in frames(clip, per_clip):
            result.append(_label(f"{clip.relative_to(data)}#{index}", image, model))
    result = [p for p in result if len(p.faces) and p.faces[:, -1].max() >= SURE]
    for path in negatives(folders, fold):
        image = read(path)
        if image is not None:
            picture = _label(f"negative/{path.name}", image, model)
            if not len(picture.faces) or picture.faces[:, -1].max() < SURE:
                result.append(Picture(picture.name, picture.image, picture.faces[:0]))
    return result


def _label(name: str, image: Pixels, model: Teacher, side: int = KEPT_SIDE) -> Picture:
    small = shrink(image, side)
    return Picture(name, small, model.faces(small))


def save(pictures: list[Picture], path: Path) -> None:
    """One uncompressed npz without objects in it."""
    np.savez(
        path,
        names=np.array([p.name for p in pictures]),
        sizes=np.array([p.image.shape[:2] for p in pictures]),
        pixels=np.concatenate([p.image.reshape(-1) for p in pictures]),
        counts=np.array([len(p.faces) for p in pictures]),
        faces=np.concatenate([p.faces for p in pictures]),
    )


def restore(path: Path) -> list[Picture]:
    with np.load(path, allow_pickle=False) as stored:
        names, sizes, counts = stored["names"], stored["sizes"], stored["counts"]
        pixels, faces = stored["pixels"], stored["faces"]
    starts = np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * 3)])
    firsts = np.concatenate([[0], np.cumsum(counts)])
    return [
        Picture(str(n), pixels[starts[i] : starts[i + 1]].reshape(h, w, 3), faces[firsts[i] : firsts[i + 1]])
        for i, (n, (h, w)) in enumerate(zip(names, sizes, strict=True))
    ]
