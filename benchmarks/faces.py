"""Milliseconds to find the faces of a frame, or the points of a face: ours beside the teachers, on one video.

    python benchmarks/faces.py [CLIP] [--repeat 5] [--beside yunet]
    python benchmarks/faces.py [CLIP] --mesh face_landmark.tflite

YuNet is fetched once by `unmask pull yunet`; --beside also takes the path of its ONNX file. --mesh is MediaPipe's mesh
of 468 points, which runs on LiteRT (the extra train) and looks once at each face. One thread each, crops included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from common import CLIP, Times, describe, machine, table, take_turns, timed, wanted_frames

from unmask.faces import FaceDetector, Landmarker, matrix
from unmask.types import Face, Frame, Pixels, UnmaskError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP, metavar="CLIP")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--face detector", default="embedded")
    parser.add_argument("--beside", default="yunet")
    parser.add_argument("--mesh", type=Path, help="time the landmarker beside this mesh instead")
    asked = parser.parse_args()
    frames = wanted_frames(asked.clip, 32)
    print(machine("unmask", "onnxruntime"), describe(asked.clip), sep="\n", end="\n\n", flush=True)
    if asked.mesh:
        print(f"medians of {asked.repeat}, milliseconds a face\n{table(points(frames, asked.mesh, asked.repeat))}")
        return
    variants = {}
    for name in (asked.face_detector, asked.beside):
        try:
            face_detector = FaceDetector.load(name, threads=1)
        except UnmaskError as error:
            print(f"without {name}: {error}\n")
            continue
        variants[face_detector.name] = lambda face_detector=face_detector: each(face_detector, frames)
    if variants:
        print(f"medians of {asked.repeat}, milliseconds a frame\n{table(take_turns(variants, asked.repeat))}")


def each(face_detector: FaceDetector, frames: list[Frame]) -> Times:
    found: list[int] = []
    spent = timed(lambda: found.extend(len(face_detector.find(frame.image)) for frame in frames))
    return {name: 1000 * seconds / len(frames) for name, seconds in spent.items()} | {"faces": sum(found) / len(frames)}


def points(frames: list[Frame], mesh: Path, repeat: int) -> dict[str, Times]:
    from training.landmarker.teacher import FIRST, Teacher

    face_detector, landmarker, teacher = FaceDetector.load(), Landmarker.load(), Teacher(mesh)
    faces = [(frame.image, face) for frame in frames for face in face_detector.find(frame.image)]

    def times(look: Callable[[Pixels, Face], object]) -> Times:
        spent = timed(lambda: [look(image, face) for image, face in faces])
        return {name: 1000 * seconds / len(faces) for name, seconds in spent.items()}

    variants = {
        landmarker.name: lambda: times(landmarker.find),
        "mesh, one look": lambda: times(lambda image, face: teacher.look(image, matrix(face.points, FIRST))),
    }
    return take_turns(variants, repeat)


if __name__ == "__main__":
    main()
