"""The face detector's second stage: a closer look at each detection, for exact points and a second score.

The net is our own (`training.face_detector.refinement_net`); what it learnt from is said in `face_detector.json`.
"""

from __future__ import annotations

import numpy as np

from unmask.errors import BundleError, UnmaskError
from unmask.faces.align import align, matrix
from unmask.faces.session import session
from unmask.types import Floats, InputSpec, Pixels

MIRRORED = [1, 0, 2, 4, 3]  # a mirrored left eye is the right eye of the image
SPEC = InputSpec(size=80, margin=1.4, template="gend5")  # of the close-up that the net looks at
MOST = 256  # close-ups at once: 20 MB


class Refiner:
    """Looks again at finds. Threads may share it."""

    def __init__(self, weights: bytes, name: str, threads: int = 1) -> None:
        """`weights`: ONNX with "input" (N, 3, 80, 80), RGB in 0..255, "points" (N, 5, 2) in 0..1 and "face" (N,).

        Raises: UnmaskError when the weights are no such file.
        """
        self._session = session(weights, f"second stage of the face detector {name}", threads)
        taken = {i.name: list(i.shape[1:]) for i in self._session.get_inputs()}
        given = {o.name: list(o.shape[1:]) for o in self._session.get_outputs()}
        if taken != {"input": [3, SPEC.size, SPEC.size]} or given != {"points": [5, 2], "face": []}:
            raise BundleError(
                f"the second stage of the face detector {name} is of another kind: wanted are input "
                f"(N, 3, {SPEC.size}, {SPEC.size}), points (N, 5, 2) and face (N,), it has {taken} and {given}"
            )

    def look(self, image: Pixels, points: Floats) -> tuple[Floats, Floats]:
        """Better points, and how likely each is a face: means over the close-up and its mirror image.

        What the net gets wrong by chance it gets wrong otherwise in a mirror; it costs a tenth of the close-up itself.

        Args:
            image: uint8 (H, W, 3) RGB.
            points: (N, 5, 2) of the finds, in pixels of `image`.
        Returns: points (N, 5, 2) in pixels of `image`; probabilities (N,), 0 where five points span no face.
        """
        better, face = points.copy(), np.zeros(len(points), np.float32)
        places, rows, crops = [], [], []
        for row, five in enumerate(points):
            try:
                place = matrix(five, SPEC)
                crop = align(image, place, SPEC.size, fine=False)  # as in training
            except UnmaskError:
                continue
            places.append(place)
            rows.append(row)
            crops.append(crop)
        for start in range(0, len(rows), MOST):
            close = np.stack(crops[start : start + MOST]).transpose(0, 3, 1, 2).astype(np.float32)
            seen, likely = self._session.run(["points", "face"], {"input": np.concatenate([close, close[..., ::-1]])})
            here, there = seen[: len(close)], seen[len(close) :, MIRRORED] * [-1, 1] + [1, 0]
            means = (here + there) / 2, (likely[: len(close)] + likely[len(close) :]) / 2
            for row, place, five, chance in zip(rows[start:], places[start:], *means, strict=False):
                linear = np.linalg.inv(place[:, :2].astype(np.float64))
                better[row] = (five * SPEC.size - place[:, 2]) @ linear.T
                face[row] = chance
        return better, face
