"""The teacher: MediaPipe's face mesh (Apache-2.0) on LiteRT, of whose 468 points 81 are trained.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019, arXiv 1907.06724. The
mesh looks at a square turned with the eyes and larger than the face. How much larger matters: at 1.5 times the face a
zoom of 5 % moves the points by 5 % of the eye distance, on 40 of our images, and the oval stands off the face; at
1.25 times it is under 2 %. What is left of that is averaged: a label is the mean of four looks, two of them mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unmask.faces.align import align, matrix
from unmask.faces.regions import LEFT_EYE, MIRRORED, RIGHT_EYE
from unmask.types import Floats, InputSpec, Pixels, UnmaskError

# Vertices of the mesh for points 0..80. All stand in the contours that MediaPipe documents in
# `face_mesh_connections.py`: FACE_OVAL (36 vertices, of which the jaw takes every second or so and the forehead all),
# upper edges of *_EYEBROW, NOSE, *_EYE and LIPS.
MESH = (
    *(127, 234, 93, 132, 172, 136, 149, 148, 152, 377, 378, 365, 397, 361, 323, 454, 356),  # jaw
    *(70, 63, 105, 66, 107),  # right brow
    *(336, 296, 334, 293, 300),  # left brow
    *(168, 197, 5, 1),  # ridge and tip of the nose
    *(98, 97, 2, 326, 327),  # below the nose
    *(33, 160, 158, 133, 153, 144),  # right eye
    *(362, 385, 387, 263, 373, 380),  # left eye
    *(61, 40, 37, 0, 267, 270, 291, 321, 405, 17, 181, 91),  # outer edge of the lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner edge of the lips
    *(389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21, 162),  # forehead
)
SIDE = 192  # pixels of the mesh's input
FIRST = InputSpec(size=SIDE, margin=1.5)  # what it sees first, placed by the face detector's five points
REACH = 1.25  # side of the later squares over the face's longer side


@dataclass(frozen=True)
class Look:
    """How a look differs from the plain one."""

    zoom: float = 1.0
    turn: float = 0.0  # degrees
    shift: tuple[float, float] = (0.0, 0.0)  # of the square, in its sides
    mirror: bool = False


LOOKS = (
    Look(),
    Look(mirror=True),
    Look(0.95, 4.0, (0.02, -0.02)),
    Look(1.05, -4.0, (-0.02, 0.02), mirror=True),
)


@dataclass(frozen=True)
class Seen:
    """What the teacher says of one face."""

    points: Floats  # (81, 2) in pixels of the image, mean of the looks
    looks: Floats  # (looks, 81, 2): each
    presence: float  # 0..1, the teacher's own doubt whether there is a face at all: the least of the looks

    @property
    def spread(self) -> float:
        """How far its looks lie from their mean, on average over points, in eye distances."""
        apart = np.linalg.norm(self.looks - self.points, axis=2).mean()
        return float(apart / eye_distance(self.points))


class Teacher:
    """The mesh; not to be shared by threads."""

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise UnmaskError("the teacher runs on LiteRT: pip install 'unmask[train]'") from None
        if not path.is_file():
            raise UnmaskError(f"no teacher at {path}; --teacher wants MediaPipe's face_landmark.tflite (468 points)")
        self.net = Interpreter(str(path), num_threads=1)
        self.net.allocate_tensors()
        self.input = self.net.get_input_details()[0]["index"]
        sizes = {int(np.prod(o["shape"])): o["index"] for o in self.net.get_output_details()}
        if not {1404, 1} <= sizes.keys():
            raise UnmaskError(f"{path} is not the mesh of 468 points: its outputs have {sorted(sizes)} numbers")
        self.mesh, self.flag = sizes[1404], sizes[1]

    def see(self, image: Pixels, five: Floats, looks: Sequence[Look] = LOOKS) -> Seen:
        """The face whose five points the face detector gave, in an image uint8 (H, W, 3) RGB.

        Raises: UnmaskError for points that span no face.
        """
        points, _ = self.look(image, matrix(five, FIRST))
        seen = [self.look(image, square(points, look), look.mirror) for look in looks]
        each = np.stack([p for p, _ in seen])
        return Seen(each.mean(axis=0), each, min(p for _, p in seen))

    def look(self, image: Pixels, into: Floats, mirror: bool = False) -> tuple[Floats, float]:
        """One look at the square that `into` (2, 3) cuts out -> (81, 2) in pixels of the image, presence.

        mirror: `into` mirrors; left and right change places in the mesh, and its inverse mirrors back.
        """
        crop = align(image, into, SIDE)
        self.net.set_tensor(self.input, crop[None].astype(np.float32) / 255)
        self.net.invoke()
        points = self.net.get_tensor(self.mesh).reshape(468, 3)[list(MESH), :2]
        if mirror:
            points = points[list(MIRRORED)]
        linear = np.linalg.inv(into[:, :2].astype(np.float64))
        back = (points - into[:, 2]) @ linear.T
        return back.astype(np.float32), float(1 / (1 + np.exp(-self.net.get_tensor(self.flag).item())))


def eye_distance(points: Floats) -> float:
    """Between the centres of the eyes, each the mean of its six points: what errors are divided by."""
    right, left = points[list(RIGHT_EYE)].mean(axis=0), points[list(LEFT_EYE)].mean(axis=0)
    return float(np.linalg.norm(right - left))


def square(points: Floats, look: Look = LOOKS[0]) -> Floats:
    """The matrix (2, 3) from the image to the mesh's input that a look at a face with these points takes."""
    along = points[list(LEFT_EYE)].mean(axis=0) - points[list(RIGHT_EYE)].mean(axis=0)
    turn = -np.arctan2(along[1], along[0]) + np.deg2rad(look.turn)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    upright = points @ rotation.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    side = REACH * look.zoom * float((high - low).max())
    linear = np.diag([-1.0 if look.mirror else 1.0, 1.0]) @ rotation * (SIDE / side)
    middle = rotation.T @ ((low + high) / 2 + np.array(look.shift) * side)
    return np.column_stack([linear, SIDE / 2 - linear @ middle]).astype(np.float32)
