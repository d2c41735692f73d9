"""The student held against its teacher on images that no training saw, both run as in a scan."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from training.face_detector.scenes import Composer, moved, placement, warp, without_faces
from training.face_detector.sources import (
    CLOSE_SIDES,
    SURE,
    Picture,
    Teacher,
    frames,
    negatives,
    overlap,
    read,
    stills,
    videos,
)
from unmask.faces import detector as runtime
from unmask.faces.detector import FaceDetector
from unmask.types import Face, Floats, Pixels

FRAMES = 16  # of each held-out video
REFINER = "refinement.onnx"
LARGE = 32.0  # px in the image: faces above it must be found
POINTS = "points from the mean of the teacher's looks, in eye distances, "
ONE_LOOK = "points from the teacher's one look, in eye distances, mean"
LOWEST = 0.3  # threshold below which no score is worth looking at


@dataclass(frozen=True)
class Row:
    """One number of the table, the teacher's beside it where it has one."""

    data: str
    what: str
    student: float
    teacher: float | None
    count: int  # faces or images it is measured on


def as_rows(faces: list[Face]) -> Floats:
    """Faces -> (G, 15) as in `Picture.faces`."""
    rows = [[*f.box, *f.points.reshape(-1), f.score] for f in faces]
    return np.asarray(rows, np.float32).reshape(-1, 15)


def sure(rows: Floats, side: float = LARGE) -> Floats:
    large = np.sqrt((rows[:, 2:4] - rows[:, :2]).prod(axis=1)) > side
    return np.asarray(rows[(rows[:, 14] >= SURE) & large], np.float32)


def matched(truth: Floats, found: Floats) -> tuple[Floats, Floats]:
    """For each true face: is one found (IoU >= 0.5), and its points' mean error over the distance of the eyes."""
    if not len(truth) or not len(found):
        return np.zeros(len(truth), np.float32), np.full(len(truth), np.nan, np.float32)
    shared = overlap(truth[:, :4], found[:, :4])
    best = shared.argmax(axis=1)
    hit = shared.max(axis=1) >= 0.5
    a, b = truth[:, 4:14].reshape(-1, 5, 2), found[best, 4:14].reshape(-1, 5, 2)
    error = np.linalg.norm(a - b, axis=2).mean(axis=1) / np.maximum(np.linalg.norm(a[:, 0] - a[:, 1], axis=1), 1e-6)
    return hit.astype(np.float32), np.where(hit, error, np.nan).astype(np.float32)


# --- the threshold, on validation ------------------------------------------------------------------------------------


def student(weights: Path, confident: float) -> FaceDetector:
    """Both nets of a run: `refinement.onnx` lies beside `weights`."""
    return FaceDetector(weights.read_bytes(), "student", 1, confident, weights.with_name(REFINER).read_bytes())


def threshold(weights: Path, teacher: FaceDetector, validation: list[Picture]) -> float:
    """The lowest at which the student finds no more than the teacher in faceless images, those of validation."""
    eager = student(weights, LOWEST)
    empty = [rgb(image) for image in faceless(validation)]
    allowed = sum(len(teacher.find(image)) for image in empty)
    false = sorted((face.score for image in empty for face in eager.find(image)), reverse=True)
    print(f"{len(empty)} faceless images of validation: the teacher finds {allowed} faces in them")
    return round(false[allowed] + 0.001, 3) if len(false) > allowed else LOWEST


def faceless(pictures: list[Picture]) -> list[Pixels]:
    """Images without faces, and every fourth image with its faces painted over."""
    rng = np.random.default_rng(0)
    texture = Composer(pictures).texture
    emptied = [without_faces(rng, p, texture) for p in [p for p in pictures if len(p.faces)][::4]]
    return [p.image for p in pictures if not len(p.faces)] + emptied


def rgb(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image[:, :, ::-1])


# --- the table -------------------------------------------------------------------------------------------------------


def compare(
    name: str, pictures: Iterable[Pixels], ours: FaceDetector, teacher: FaceDetector, looks: Teacher
) -> list[Row]:
    """Recall of the teacher's sure faces, distance of the points, and finds where the teacher finds nothing.

    Points are held against the mean of many looks of the teacher, and beside them stand the teacher's own of one look.
    Against that one look the mean itself stands in the teacher's place: no student can come nearer to it but by copying
    its noise.
    """
    hits, exact, own, single, noise = [], [], [], [], []
    extra = count = 0
    for image in pictures:
        seen, found = as_rows(teacher.find(image)), as_rows(ours.find(image))
        mean = looks.faces(image[:, :, ::-1])
        hit, error = matched(sure(seen), found)
        hits.append(hit)
        single.append(error)
        noise.append(matched(sure(seen), mean)[1])
        exact.append(matched(sure(mean), found)[1])
        own.append(matched(sure(mean), seen)[1])
        extra += int((overlap(found[:, :4], seen[:, :4]).max(axis=1, initial=0) < 0.3).sum())
        count += 1
    hit, exacts, owns = np.concatenate(hits), np.concatenate(exact), np.concatenate(own)
    faces = int(np.isfinite(exacts).sum())
    return [
        Row(name, "recall of the teacher's sure faces", float(hit.mean()), None, len(hit)),
        Row(name, POINTS + "mean", mean_of(exact), mean_of(own), faces),
        Row(name, POINTS + "median", float(np.nanmedian(exacts)), float(np.nanmedian(owns)), faces),
        Row(name, ONE_LOOK, mean_of(single), mean_of(noise), int(hit.sum())),
        Row(name, "finds per image that the teacher has not", extra / count, None, count),
    ]


def overall(rows: list[Row]) -> list[Row]:
    """Recall and mean distances over the faces of all sets."""
    found = []
    for what in ("recall of the teacher's sure faces", POINTS + "mean", ONE_LOOK):
        parts = [row for row in rows if row.what == what]
        count = sum(row.count for row in parts)
        ours = sum(row.student * row.count for row in parts) / count
        theirs = sum((row.teacher or 0.0) * row.count for row in parts) / count
        found.append(Row("all sets", what, ours, None if parts[0].teacher is None else theirs, count))
    return found


def mean_of(errors: list[Floats]) -> float:
    return float(np.nanmean(np.concatenate(errors)))


def under(
    name: str, labels: list[Picture], change: Callable[[Picture], Picture], ours: FaceDetector, teacher: FaceDetector
) -> list[Row]:
    """Recall and point error of both against the teacher's labels of the unchanged image, moved along."""
    results: dict[str, list[tuple[Floats, Floats]]] = {"student": [], "teacher": []}
    for picture in labels:
        changed = change(picture)
        for who, face_detector in (("student", ours), ("teacher", teacher)):
            results[who].append(matched(changed.faces, as_rows(face_detector.find(rgb(changed.image)))))
    hits = {who: np.concatenate([hit for hit, _ in pairs]) for who, pairs in results.items()}
    errors = {who: np.concatenate([error for _, error in pairs]) for who, pairs in results.items()}
    count = len(hits["student"])
    return [
        Row(name, "recall", float(hits["student"].mean()), float(hits["teacher"].mean()), count),
        Row(
            name,
            "points from the labels, in eye distances, mean",
            float(np.nanmean(errors["student"])),
            float(np.nanmean(errors["teacher"])),
            count,
        ),
    ]


def turned(angle: float) -> Callable[[Picture], Picture]:
    """Turn about the first face on a canvas of the same size, keeping its scale."""

    def change(picture: Picture) -> Picture:
        canvas = np.zeros_like(picture.image)
        face = picture.faces[0]
        side = float(np.sqrt((face[2] - face[0]) * (face[3] - face[1])))
        matrix = placement(face, side, (canvas.shape[1] / 2, canvas.shape[0] / 2), angle, 1.0, False)
        warp(picture.image, matrix, canvas)
        return Picture(picture.name, canvas, moved(matrix, picture.faces[:1]))

    return change


def small(side: float) -> Callable[[Picture], Picture]:
    """The first face at `side` pixels in a grey image of 320 x 192, which the face detector looks at as it is."""

    def change(picture: Picture) -> Picture:
        canvas = np.full((192, 320, 3), 120, np.uint8)
        matrix = placement(picture.faces[0], side, (160, 96), 0.0, 1.0, False)
        warp(picture.image, matrix, canvas)
        return Picture(picture.name, canvas, moved(matrix, picture.faces[:1]))

    return change


def false_finds(name: str, pictures: list[Pixels], ours: FaceDetector, teacher: FaceDetector) -> Row:
    a, b = (
        sum(len(face_detector.find(image)) for image in pictures) / len(pictures) for face_detector in (ours, teacher)
    )
    return Row(name, "false detections per image", a, b, len(pictures))


def speed(image: Pixels, ours: FaceDetector, teacher: FaceDetector, rounds: int = 60) -> Row:
    """Processor milliseconds for one 1080p frame, scaling included; the two take turns, medians."""
    spent: dict[FaceDetector, list[float]] = {ours: [], teacher: []}
    for _ in range(rounds):
        for face_detector in (ours, teacher):
            start = time.process_time()
            face_detector.find(image)
            spent[face_detector].append(1e3 * (time.process_time() - start))
    a, b = (float(np.median(spent[face_detector])) for face_detector in (ours, teacher))
    return Row("1080p frame, one core", "CPU ms, median", a, b, rounds)


# --- all of it -------------------------------------------------------------------------------------------------------


def evaluate(
    weights: Path, teacher_path: Path, data: Path, folders: list[Path], validation: list[Picture], words: str
) -> None:
    """Choose the threshold on validation, measure on the test fold, print, write `face_detector.json` beside `weights`.

    Args:
        words: how the weights came about, for the card.
    """
    teacher = FaceDetector.load(str(teacher_path))
    looks = Teacher(teacher_path, CLOSE_SIDES, mirrored=True)
    chosen = threshold(weights, teacher, validation)
    ours = student(weights, chosen)
    print(f"threshold {chosen} (chosen on {len(validation)} validation images); the teacher's is {runtime.CONFIDENT}")
    rows: list[Row] = []
    clips = [[rgb(image) for _, image in frames(clip, FRAMES)] for clip in videos(data, "test")]
    rows += compare("FF++ c23, held-out pairs", chain.from_iterable(clips), ours, teacher, looks)
    held_out = [
        (path.relative_to(data).parts[0], image)
        for path in stills(data, "test", 0)
        if (image := read(path)) is not None
    ]
    for name in sorted({name for name, _ in held_out}):
        rows += compare(name, [rgb(image) for kind, image in held_out if kind == name], ours, teacher, looks)
    rows += overall(rows)
    labels = []
    for name, image in held_out[::3]:
        seen = sure(looks.faces(image))
        if len(seen):
            labels.append(Picture(name, image, seen))
    for angle in (-30.0, 30.0):
        rows += under(f"stills turned {angle:+.0f} degrees", labels, turned(angle), ours, teacher)
    for side in (12.0, 16.0, 24.0, 40.0):
        rows += under(f"stills, face {side:.0f} px at the input", labels, small(side), ours, teacher)
    empty = [rgb(image) for path in negatives(folders, "test") if (image := read(path)) is not None]
    rows.append(false_finds("faceless images", empty, ours, teacher))
    rows.append(false_finds("held-out stills, faces painted over", [rgb(p) for p in faceless(labels)], ours, teacher))
    film = clips[0][0]
    rows.append(speed(np.asarray(cv2.resize(film, (1920, 1080)), dtype=np.uint8), ours, teacher))
    show(rows)
    write(weights, chosen, words, rows)


def show(rows: list[Row]) -> None:
    print(f"{'data':38} {'what':70} {'student':>8} {'teacher':>8} {'n':>6}")
    for row in rows:
        beside = "" if row.teacher is None else f"{row.teacher:8.3f}"
        print(f"{row.data:38} {row.what:70} {row.student:8.3f} {beside:>8} {row.count:6d}")


def limits(rows: list[Row]) -> list[str]:
    """In words, what the table says against the face detector."""
    sizes = {r.data: r.student for r in rows if r.data.startswith("stills, face") and r.what == "recall"}
    missed = [
        f"{1 - found:.0%} of {data.removeprefix('stills, face ')}" for data, found in sizes.items() if found < 0.99
    ]
    return [
        "points are held against the mean of eight looks of the teacher, one of its looks alone differs more",
        f"of small faces it misses {', '.join(missed) or 'less than 1%'}",
    ]


def known(value: float | None) -> float | None:
    """None for a mean over nothing: JSON has no NaN."""
    return None if value is None or math.isnan(value) else value


def write(weights: Path, chosen: float, words: str, rows: list[Row]) -> None:
    both = [file.read_bytes() for file in (weights, weights.with_name(REFINER))]
    card = {
        "name": "unmask-face detector-2",
        "sha256": hashlib.sha256(b"".join(both)).hexdigest(),
        "licence": "Apache-2.0",
        "threshold": chosen,
        "refiner": REFINER,
        "architecture": "two nets trained from random initial values: an anchor-free pyramid of depthwise-separable "
        "blocks, strides 8, 16 and 32, about 119,000 weights, inputs and outputs laid out like YuNet's "
        "(training/face_detector/net.py); and on each of its detections one of about 150,000 that refines points and "
        "scores faces (training/face_detector/refinement_net.py). The score is the geometric mean of what both say",
        "teacher": "YuNet (OpenCV Zoo, Apache-2.0): its boxes and points at several scales are the labels",
        "training": words,
        "data": [
            {"name": "Labeled Faces in the Wild (deep-funneled), 7 of 10 people", "terms": "research"},
            {"name": "UTKFace, 7 of 10 images", "terms": "non-commercial research"},
            {"name": "FFHQ and StyleGAN faces, 7 of 10 images", "terms": "CC BY-NC-SA / CC BY-NC"},
            {"name": "CIPLAB real and fake faces, 7 of 10 images", "terms": "terms not read"},
            {"name": "DFDC face crops, training actors", "terms": "DFDC, research"},
            {"name": "FaceForensics++ c23, pairs 183/253, 210/241, 252/266", "terms": "FaceForensics++, research"},
            {
                "name": "wallpapers and stamps of Debian packages, as faceless images: plasma-workspace-wallpapers, "
                "gnome-, mate- and sway-backgrounds, lomiri-wallpapers-16.04 and -20.04, ukui-wallpapers, "
                "tuxpaint-stamps-default (animals, plants, food, things; no drawings)",
                "terms": "free licences of each package",
            },
        ],
        "use": "Trained on research data: ask the terms above before a commercial use.",
        "how_measured": "Student and teacher through unmask.faces.FaceDetector on images no training saw: people, leak "
        f"groups or files held out. Sure faces: teacher's score >= {SURE}, mean side above {LARGE:.0f} px; found: "
        "IoU >= 0.5. Turned and small faces are held against the teacher's labels of the unchanged image. "
        "python -m training.face_detector --evaluate",
        "limits": limits(rows),
        "metrics": [asdict(row) | {"student": known(row.student), "teacher": known(row.teacher)} for row in rows],
    }
    weights.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
