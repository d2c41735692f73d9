"""What finds dense points of a face while forgeries are made."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from unmask.data.landmarks import Landmarker, standard
from unmask.errors import InputError
from unmask.faces.landmarker import Landmarker as Net
from unmask.types import Face, Floats, Pixels

# Of MediaPipe's 468 points: those nearest to iBUG's 68 in their order, then the forehead from right to left.
FROM_MESH = (
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),  # jaw
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # lips
    *(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inside
    *(389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21, 162),  # forehead
)


MESH_SIDE = 192  # pixels of the mesh net's input


def landmarker(name: str) -> Landmarker:
    """What finds dense points; it is loaded where it is first called, so that it travels to other processes.

    Args:
        name: "five", the standard face laid over five points; "embedded", the net that ships with the package; or the
            path of another of its kind (.onnx) or of MediaPipe's `face_landmark.tflite`.
    Raises: UnmaskError for anything else.
    """
    if name == "five":
        return standard
    if name != "embedded" and not Path(name).is_file():
        raise InputError(f"{name} is no landmarker: give five, embedded, or the path of a face_landmark.tflite")
    return partial(_points, name)


def _points(name: str, image: Pixels, five: Floats) -> Floats:
    return _loaded(name)(image, five)


@lru_cache(maxsize=2)
def _loaded(name: str) -> Landmarker:
    if name == "embedded" or name.endswith(".onnx"):
        net = Net.load(name)
        return lambda image, five: net.find(image, Face(0, 0.0, (0.0, 0.0, 0.0, 0.0), five, 1.0))
    mesh = Mesh(Path(name))
    return lambda image, five: np.asarray(mesh(image)[list(FROM_MESH)], np.float32)


class Mesh:
    """MediaPipe's dense face mesh on a crop; a tool for training only."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(model_path=str(path), num_threads=1)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        outputs = self._net.get_output_details()
        self._points = next(o["index"] for o in outputs if np.prod(o["shape"]) == 468 * 3)

    def __call__(self, face: Pixels) -> Floats:
        """uint8 (S, S, 3), an aligned wide crop -> (468, 2) in its pixels."""
        import cv2

        small = cv2.resize(face, (MESH_SIDE, MESH_SIDE), interpolation=cv2.INTER_AREA)
        self._net.set_tensor(self._input, small[None].astype(np.float32) / 255)
        self._net.invoke()
        flat: Floats = self._net.get_tensor(self._points).reshape(468, 3)[:, :2]
        return flat * np.float32(face.shape[0] / MESH_SIDE)
