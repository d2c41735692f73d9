"""What finds dense points while forging: each in the same order, and near each other on a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.portraits import face
from unmask.data.landmarks import INNER_MOUTH, JAW, LEFT_BROW, LEFT_EYE, MOUTH, NOSE, RIGHT_BROW, RIGHT_EYE, Landmarks
from unmask.forging.landmarkers import FROM_MESH, landmarker
from unmask.types import InputSpec, UnmaskError


def test_five_points_are_always_there() -> None:
    image, points, _ = face("hopper")
    np.testing.assert_array_equal(landmarker("five")(image, points.five).shape, (81, 2))
    with pytest.raises(UnmaskError, match="is no landmarker"):
        landmarker("six")


def test_the_mesh_gives_the_same_points(shared_weights: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    assert len(set(FROM_MESH)) == 81
    find = landmarker(str(shared_weights / "mediapipe_face_landmark.tflite"))
    for person in ("collins", "hopper"):
        image, points, _ = face(person, InputSpec(size=256, margin=1.3))
        found = Landmarks(find(image, points.five))
        for region in (JAW, RIGHT_BROW, LEFT_BROW, NOSE, RIGHT_EYE, LEFT_EYE, MOUTH, INNER_MOUTH):
            gap = np.linalg.norm(found.at(region).mean(0) - points.at(region).mean(0))
            assert gap < 0.25 * points.eyes
        assert np.linalg.norm(found.points - points.points, axis=1).mean() < 0.2 * points.eyes
