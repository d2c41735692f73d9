"""The five-point stand-in for a face mesh: complete for what self-blending cuts, in place, and near the real mesh."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from unmask.data.outline import mesh_from_points
from unmask.generators.sbi import MESH_BROWS, MESH_EYES, MESH_MOUTH, MESH_NOSE, MESH_OVAL, self_blend
from unmask.nouns import Floats, UnmaskError

COLLINS = np.array([(204.7, 105.1), (246.7, 105.0), (223.9, 128.2), (205.6, 145.0), (243.0, 144.9)], np.float32)


def test_it_holds_every_point_that_self_blending_uses() -> None:
    mesh = mesh_from_points(COLLINS)
    assert mesh.shape == (468, 2)
    assert mesh.dtype == np.float32
    for part in (MESH_OVAL, MESH_BROWS, MESH_EYES, MESH_MOUTH, MESH_NOSE):
        assert np.isfinite(mesh[list(part)]).all()


def test_parts_lie_where_the_five_points_say() -> None:
    mesh = mesh_from_points(COLLINS)
    left, right, nose, *mouth = COLLINS
    unit = right[0] - left[0]
    assert (
        np.abs((mesh[33] + mesh[133]) / 2 - left).max() < 0.1 * unit
    )  # corners of the eye that is left in the picture
    assert np.abs((mesh[362] + mesh[263]) / 2 - right).max() < 0.1 * unit
    assert np.abs(mesh[[61, 291]] - mouth).max() < 0.12 * unit
    assert mesh[48, 0] < nose[0] < mesh[278, 0]
    assert mesh[10, 1] < mesh[105, 1] < left[1]  # forehead above brow above eye
    assert mesh[152, 1] > mesh[17, 1] > mouth[0][1]  # chin below lip below the mouth's corners
    oval = cv2.convexHull(mesh[list(MESH_OVAL)])
    assert all(cv2.pointPolygonTest(oval, tuple(map(float, point)), measureDist=False) > 0 for point in COLLINS)


def test_it_turns_scales_and_shifts_with_the_face() -> None:
    c, s = 2.5 * np.cos(0.6), 2.5 * np.sin(0.6)
    turn, shift = np.array([(c, -s), (s, c)]), np.array([40, -7])
    moved = mesh_from_points((COLLINS @ turn.T + shift).astype(np.float32))
    np.testing.assert_allclose(moved, mesh_from_points(COLLINS) @ turn.T + shift, atol=0.02)


def test_points_that_are_no_face_are_refused() -> None:
    with pytest.raises(UnmaskError, match="do not look like a face"):
        mesh_from_points(np.full((5, 2), 3, np.float32))


def test_what_is_forged_with_it_is_the_face_and_only_the_face() -> None:
    picture = np.ascontiguousarray(np.asarray(data.astronaut())[28:188, 145:305])
    points: Floats = COLLINS - np.array([145, 28], np.float32)
    oval = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(oval, cv2.convexHull(mesh_from_points(points)[list(MESH_OVAL)].round().astype(np.int32)), 1)
    near = cv2.dilate(oval, np.ones((31, 31), np.uint8)) > 0
    for seed in range(12):
        _, alpha = self_blend(picture, mesh_from_points(points), np.random.default_rng(seed))
        assert alpha[near].sum() > 0.98 * alpha.sum()
