"""The student held against its teacher on people that no training saw, through the landmarker that others call.

Errors are distances between a point and the teacher's, over the distance of the eyes' centres; a face's error is the
mean over its points. The baseline stands beside them: how far the teacher's own points move when its square does a
little.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.landmarker.sources import PRESENT, Shot, shots
from training.landmarker.teacher import FIRST, LOOKS, Look, Teacher, eye_distance
from unmask.faces import FaceDetector, Landmarker, from_five
from unmask.faces.align import matrix
from unmask.faces.regions import COUNT, GROUPS
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import share
from unmask.types import Face, Floats, Pixels

MOVED = Look(zoom=1.05, turn=3.0, shift=(0.02, 0.02))  # the small move under which the teacher is asked again
WRONG = 0.05  # eye distances: errors put on the face detector's points, to see what depends on them
WHO = ("student", "student, five points off by 5 %", "teacher, square moved", "five points alone")
ALL = "all points"
DATA = (
    {"name": "DFDC face crops, real, training actors", "terms": "DFDC, research"},
    {"name": "UTKFace, training files", "terms": "non-commercial research"},
    {"name": "Labeled Faces in the Wild (deep-funneled), training people", "terms": "research"},
    {"name": "FFHQ, training files", "terms": "CC BY-NC-SA"},
)
ARCHITECTURE = (
    "3 x 3 filters, then depthwise-separable blocks with residuals, a linear head over 7 x 7 places; about 240,000 "
    "weights trained from random initial values (unmask/nn/landmarker.py)"
)
MEASURED = (
    "Distance from the teacher's points over the distance of the eyes' centres, mean over the points of a face; people "
    f"of the test split, real faces on which the teacher's presence is {PRESENT} and more. The teacher's own row: one "
    "look against another with the square moved by 2 %, turned by 3 degrees and zoomed by 5 %. Intervals: bootstrap "
    "over people. python -m training.landmarker --evaluate"
)
LIMITS = (
    "it copies its teacher, which draws a plausible face where it sees none: ask it only about found faces",
    "hidden points are guessed, and the oval over hair or a beard most of all",
    "in profile the eye distance shrinks and the error grows with it",
)


@dataclass(frozen=True)
class Row:
    """Errors of one source of points on one set and group of points, in eye distances; the interval is of the mean."""

    data: str
    points: str
    who: str
    mean: float
    low: float
    high: float
    median: float
    percentile95: float
    faces: int


@dataclass(frozen=True)
class Errors:
    """Of all test faces: their set and leakage group, and what each source of points got wrong at each point."""

    set: NDArray[np.str_]  # (N,)
    group: NDArray[np.str_]  # (N,)
    of: dict[str, Floats]  # (N, 81)
    unsure: int  # faces left out, because the teacher itself doubts that there is one
    milliseconds: tuple[float, float]  # of a face, student and teacher, processor time, medians


def measure(student: Landmarker, teacher: Teacher, tested: Iterator[Shot]) -> Errors:
    sets, groups, unsure = [], [], 0
    errors: dict[str, list[Floats]] = {who: [] for who in WHO}
    spent: list[tuple[float, float]] = []
    rng = np.random.default_rng(0)
    for shot in tested:
        seen = teacher.see(shot.image, shot.five)
        if seen.presence < PRESENT:
            unsure += 1
            continue
        eyes = eye_distance(seen.points)
        off = shot.five + rng.normal(0, WRONG * eyes, (5, 2)).astype(np.float32)
        once = teacher.see(shot.image, shot.five, (LOOKS[0], MOVED)).looks
        found, wrong = student.find(shot.image, as_face(shot.five)), student.find(shot.image, as_face(off))
        pairs = ((found, seen.points), (wrong, seen.points), (once[1], once[0]), (from_five(shot.five), seen.points))
        for who, (one, other) in zip(WHO, pairs, strict=True):
            errors[who].append(np.linalg.norm(one - other, axis=1) / eyes)
        sets.append(shot.set)
        groups.append(shot.group)
        if len(spent) < 200:
            spent.append(times(student, teacher, shot.image, shot.five))
    a, b = np.median(spent, axis=0)
    of = {who: np.stack(rows).astype(np.float32) for who, rows in errors.items()}
    return Errors(np.array(sets), np.array(groups), of, unsure, (float(a), float(b)))


def as_face(five: Floats) -> Face:
    """Five points as a face; the box is not looked at."""
    return Face(0, 0.0, (0.0, 0.0, 0.0, 0.0), five, 1.0)


def times(student: Landmarker, teacher: Teacher, image: Pixels, five: Floats) -> tuple[float, float]:
    """Processor milliseconds of one face, its crop included; the teacher looks once, placed by the five points."""
    start = time.process_time()
    student.find(image, as_face(five))
    middle = time.process_time()
    teacher.look(image, matrix(five, FIRST))
    return 1e3 * (middle - start), 1e3 * (time.process_time() - middle)


def table(errors: Errors) -> list[Row]:
    """By set over all points, then by group of points over all sets."""
    everything = np.ones(len(errors.set), bool)
    sets = {str(name): errors.set == name for name in np.unique(errors.set)} | {"all sets": everything}
    parts = [(name, ALL, chosen, tuple(range(COUNT))) for name, chosen in sets.items()]
    parts += [("all sets", group, everything, points) for group, points in GROUPS.items()]
    return [
        row(data, points, who, errors.of[who][chosen][:, list(places)].mean(axis=1), errors.group[chosen])
        for data, points, chosen, places in parts
        for who in WHO
    ]


def row(data: str, points: str, who: str, of_face: Floats, group: NDArray[np.str_]) -> Row:
    found = bootstrap(share, np.zeros(len(of_face)), of_face, group)
    median, high = np.quantile(of_face, [0.5, 0.95])
    numbers = (found.value, found.low, found.high, float(median), float(high))
    mean, least, most, middle, late = (round(n, 5) for n in numbers)
    return Row(data, points, who, mean, least, most, middle, late, len(of_face))


def show(rows: Sequence[Row]) -> None:
    print(
        f"{'data':18} {'points':12} {'who':31} {'mean':>7} {'95 % interval':>18} {'median':>7} {'95th':>7} {'faces':>6}"
    )
    for r in rows:
        print(
            f"{r.data:18} {r.points:12} {r.who:31} {r.mean:7.4f} {f'{r.low:.4f} to {r.high:.4f}':>18} "
            f"{r.median:7.4f} {r.percentile95:7.4f} {r.faces:6d}"
        )


def evaluate(weights: Path, teacher_path: Path, data: Path) -> None:
    """Measure on the test split, print, add the numbers to the card beside `weights`."""
    student, teacher = Landmarker(weights.read_bytes(), "student"), Teacher(teacher_path)
    path = weights.with_suffix(".json")
    card = json.loads(path.read_text("utf-8"))
    errors = measure(student, teacher, shots(data, "test", FaceDetector.load()))
    rows = table(errors)
    show(rows)
    mine, other = errors.milliseconds
    print(f"{errors.unsure} faces left out; CPU ms a face: student {mine:.2f}, teacher's one look {other:.2f}")
    card |= {
        "left_out": errors.unsure,
        "milliseconds": {"student": round(mine, 3), "teacher, one look": round(other, 3)},
        "metrics": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def describe(weights: Path, training: str) -> None:
    """Write the card beside the weights."""
    card = {
        "name": "unmask-landmarker-1",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "architecture": ARCHITECTURE,
        "teacher": "MediaPipe's face mesh of 468 points (Google, Apache-2.0): the mean of four looks is the label",
        "training": training,
        "data": DATA,
        "use": "Trained on research data: ask the terms above before a commercial use.",
        "how_measured": MEASURED,
        "limits": LIMITS,
    }
    weights.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
