"""Where 81 points of a face lie: a small net on the aligned crop.

The net is our own, distilled from MediaPipe's face mesh (Kartynnik et al. 2019, arXiv 1907.06724); the points and their
groups are named in `unmask.faces.regions`.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from unmask.errors import BundleError
from unmask.faces.align import align, matrix
from unmask.faces.regions import COUNT
from unmask.faces.session import session
from unmask.types import Face, Floats, InputSpec, Pixels

SPEC = InputSpec(size=112, margin=1.25, template="gend5")  # of the crop that the net looks at
_FILE = Path(__file__).with_name("landmarker.onnx")


class Landmarker:
    """Finds the points of a face; make one with `Landmarker.load`. Threads may share it.

    Attributes:
        name: for reports.
        sha256: of the weights, lower-case hex.
    """

    def __init__(self, weights: bytes, name: str, threads: int = 1) -> None:
        """`weights`: an ONNX file with "input" (N, 3, 112, 112), RGB in 0..255, and "points" (N, 81, 2) in 0..1.

        Raises: UnmaskError when the weights are no such file.
        """
        self.name = name
        self.sha256 = hashlib.sha256(weights).hexdigest()
        self._session = session(weights, f"landmarker {name}", threads)
        taken = {i.name: list(i.shape[1:]) for i in self._session.get_inputs()}
        given = {o.name: list(o.shape[1:]) for o in self._session.get_outputs()}
        if taken != {"input": [3, SPEC.size, SPEC.size]} or given.get("points") != [COUNT, 2]:
            raise BundleError(
                f"landmarker {name} is of another kind: wanted are input (N, 3, {SPEC.size}, {SPEC.size}) and "
                f"points (N, {COUNT}, 2), it has {taken} and {given}"
            )

    @classmethod
    def load(cls, name: str = "embedded", threads: int = 1) -> Landmarker:
        """The path of an ONNX file, or "embedded" for the one in the package.

        Raises: UnmaskError when there is no such file or it is no landmarker.
        """
        path, label = (_FILE, "unmask-landmarker-1") if name == "embedded" else (Path(name), Path(name).stem)
        try:
            return cls(path.read_bytes(), label, threads)
        except OSError as error:
            raise BundleError(
                f"no landmarker at {path} ({error.strerror}); train one with `python -m training.landmarker` and "
                "give its path, or do with from_five, which looks at no image"
            ) from error

    def find(self, image: Pixels, face: Face) -> Floats:
        """The points of a face that a face detector found.

        Args:
            image: uint8 (H, W, 3) RGB, of any size; the one that `face` is of.
        Returns: float32 (81, 2), x and y in pixels of `image`; points may lie outside it.
        Raises: UnmaskError when `image` is no image, or the face's five points span no face.
        """
        place = matrix(face.points, SPEC)
        crop = align(image, place, SPEC.size, fine=False)  # as in training
        seen = self._session.run(["points"], {"input": crop.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        return _back(seen * np.float32(SPEC.size), place)


def landmarks(image: Pixels, face: Face) -> Floats:
    """The points (81, 2) of a face, by the package's own landmarker; see `Landmarker.load` and `Landmarker.find`."""
    return _embedded().find(image, face)


def _back(points: Floats, place: Floats) -> Floats:
    """From pixels of the crop to those of the image."""
    linear = np.linalg.inv(place[:, :2].astype(np.float64))
    return np.asarray((points - place[:, 2]) @ linear.T, np.float32)


@functools.cache
def _embedded() -> Landmarker:
    return Landmarker.load()
