"""Where brows, eyes, nose, mouth and the edge of a face lie, guessed from five points.

The samples were made before the package had points of a face of its own (`unmask.faces.from_five` and its landmarker),
when self-blending cut its masks out of MediaPipe's dense mesh alone; with other points they would be other images. A
standard face is laid over five points: the dense mesh's median over two thousand aligned photographs, made symmetric
and rounded. It turns, shifts and scales as the points do, not in depth: good for masks that are bent and blurred
anyway, and worse the more a head is turned. On 1,000 photographs of all poses its oval overlaps the dense mesh's with a
median intersection over union of 0.85 (eyes 0.84, nose 0.76, mouth 0.73), and in the worst twentieth, profiles, with
less than 0.53.
"""

from __future__ import annotations

import numpy as np

from unmask.faces import matrix
from unmask.types import Floats, InputSpec

# MediaPipe's numbers of the edge, from the forehead clockwise in equal steps of angle (seen in the image).
_EDGE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
         152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
# The rest of the outlines: (left point, its mirror image or itself): distance from the midline, height below the eyes.
# One unit is the distance of the eyes.
_PARTS = {
    # brows
    (70, 300): (0.95, -0.22), (63, 293): (0.85, -0.33), (105, 334): (0.69, -0.39), (66, 296): (0.49, -0.39),
    (107, 336): (0.25, -0.37),
    # eyes, and the cheeks below them
    (33, 263): (0.76, 0.04), (145, 374): (0.53, 0.10), (133, 362): (0.29, 0.05), (117, 346): (0.88, 0.32),
    # nose
    (6, 6): (0.0, 0.06), (48, 278): (0.32, 0.61), (64, 294): (0.32, 0.66), (129, 358): (0.35, 0.61),
    (2, 2): (0.0, 0.75),
    # lips, and the chin below them
    (61, 291): (0.43, 1.13), (57, 287): (0.54, 1.12), (37, 267): (0.13, 0.97), (0, 0): (0.0, 0.98),
    (17, 17): (0.0, 1.36), (181, 405): (0.25, 1.30), (200, 200): (0.0, 1.55),
}  # fmt: skip
_MIDDLE, _WIDE, _UP, _DOWN = 0.35, 1.15, 1.17, 1.5  # of the oval: height of its centre, and its half-axes
_PLACE = InputSpec(size=1000, margin=1.0, template="gend5")
_EYES, _UNIT = (500.0, 460.0), 320.0  # midpoint and distance of the eyes there


def mesh_from_points(points: Floats) -> Floats:
    """A stand-in for MediaPipe's mesh, good enough to cut masks from.

    Args:
        points: (5, 2), in the order of `Face.points`, pixels.
    Returns: (468, 2) float32 in the same pixels, under MediaPipe's numbers; NaN for the points inside the face that no
        outline is made of.
    Raises: UnmaskError for points that span no face.
    """
    forward = matrix(points, _PLACE).astype(np.float64)
    standard = _standard() * _UNIT + _EYES
    return np.asarray((standard - forward[:, 2]) @ np.linalg.inv(forward[:, :2]).T, np.float32)


def _standard() -> Floats:
    """(468, 2): the standard face, its origin between the eyes, its unit their distance."""
    mesh = np.full((468, 2), np.nan, np.float32)
    angle = np.linspace(0, 2 * np.pi, len(_EDGE), endpoint=False)
    reach = np.where(np.cos(angle) > 0, _UP, _DOWN)
    mesh[list(_EDGE)] = np.column_stack([_WIDE * np.sin(angle), _MIDDLE - reach * np.cos(angle)])
    for (left, right), (x, y) in _PARTS.items():
        mesh[left], mesh[right] = (-x, y), (x, y)
    return mesh
