"""The landmarker's geometry on a net of one rule, its point groups, the fallback, and the weights that ship."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.conftest import REPOSITORY
from unmask.faces import FaceDetector, Landmarker, from_five, landmarks, regions
from unmask.faces.landmarker import SPEC
from unmask.types import Face, UnmaskError

FOLDER = Path(regions.__file__).parent


def at_the_middle(path: Path, *, points: int = regions.COUNT) -> Path:
    """Says of every crop: all points lie in its middle, but the first, which lies right of it by the mean of red."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),  # (N, 3)
        helper.make_node("MatMul", ["mean", "into"], ["flat"]),
        helper.make_node("Add", ["flat", "middle"], ["moved"]),
        helper.make_node("Reshape", ["moved", "shape"], ["points"]),
    ]
    into = np.zeros((3, 2 * points), np.float32)
    into[0, 0] = 0.25 / 255  # full red is a quarter of the crop's side
    constants = {
        "into": into,
        "middle": np.full(2 * points, 0.5, np.float32),
        "shape": np.array([-1, points, 2], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "middle",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SPEC.size, SPEC.size])],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, ["n", points, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def face(side: float = 100, at: tuple[float, float] = (200, 150), turn: float = 0) -> Face:
    """Five points of a face whose template square has this side and centre."""
    five = np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)]) - 0.5
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (five * side) @ rotation.T + at
    return Face(0, 0.0, (0, 0, 1, 1), points.astype(np.float32), 0.9)


# --- the net's answer goes back to where the face is -----------------------------------------------------------------


def test_points_come_back_in_pixels_of_the_picture(tmp_path: Path) -> None:
    landmarker = Landmarker.load(str(at_the_middle(tmp_path / "middle.onnx")))
    assert landmarker.name == "middle"
    red = np.zeros((300, 400, 3), np.uint8)
    red[..., 0] = 255
    points = landmarker.find(red, face())
    assert points.shape == (81, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[1:], np.tile([[200, 150]], (80, 1)), atol=1e-3)
    # a crop of margin 1.25 is 125 pixels of the image wide, and a quarter of it to the right is along the face
    np.testing.assert_allclose(points[0], [200 + 0.25 * 125, 150], atol=1e-2)
    down = landmarker.find(red, face(turn=np.pi / 2))[0]
    np.testing.assert_allclose(down, [200, 150 + 0.25 * 125], atol=1e-2)


def test_colours_come_in_as_red_green_blue(tmp_path: Path) -> None:
    landmarker = Landmarker.load(str(at_the_middle(tmp_path / "middle.onnx")))
    blue = np.zeros((300, 400, 3), np.uint8)
    blue[..., 2] = 255
    np.testing.assert_allclose(landmarker.find(blue, face())[0], [200, 150], atol=1e-3)


def test_what_is_no_landmarker_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="no landmarker at"):
        Landmarker.load(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UnmaskError, match="not a readable ONNX file"):
        Landmarker.load(str(tmp_path / "text.onnx"))
    with pytest.raises(UnmaskError, match="of another kind"):
        Landmarker.load(str(at_the_middle(tmp_path / "68.onnx", points=68)))
    good = Landmarker.load(str(at_the_middle(tmp_path / "middle.onnx")))
    with pytest.raises(UnmaskError, match="do not look like a face"):
        good.find(np.zeros((50, 50, 3), np.uint8), Face(0, 0.0, (0, 0, 1, 1), np.zeros((5, 2), np.float32), 1.0))
    with pytest.raises(UnmaskError, match="expected an image"):
        good.find(np.zeros((50, 50), np.uint8), face())


# --- the groups ------------------------------------------------------------------------------------------------------


def test_groups_hold_each_point_once_and_follow_the_usual_order() -> None:
    held = sorted(i for group in regions.GROUPS.values() for i in group)
    assert held == list(range(regions.COUNT))
    assert len(set(regions.NAMES)) == regions.COUNT
    assert regions.NAMES[8] == "jaw 8"
    assert regions.NAMES[36] == "right eye 0"
    assert (regions.RIGHT_EYE[0], regions.LEFT_EYE[0], regions.MOUTH[0], regions.INNER_MOUTH[0]) == (36, 42, 48, 60)
    assert sorted(regions.OVAL) == [*range(17), *range(68, 81)]


def test_a_mirror_is_its_own_reverse_and_keeps_regions() -> None:
    mirror = np.array(regions.MIRRORED)
    assert (mirror[mirror] == np.arange(regions.COUNT)).all()
    for one, other in (("JAW", "JAW"), ("RIGHT_EYE", "LEFT_EYE"), ("RIGHT_BROW", "LEFT_BROW"), ("MOUTH", "MOUTH")):
        assert {mirror[i] for i in getattr(regions, one)} == set(getattr(regions, other))
    assert [mirror[i] for i in (8, 30, 51, 57, 62, 66, 74)] == [8, 30, 51, 57, 62, 66, 74]  # chin, tip, lips, brow


# --- what ships ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, Face]:
    image = np.asarray(Image.open(REPOSITORY / "samples" / "portrait-real.jpg").convert("RGB"))
    return image, FaceDetector.load().find(image)[0]


def eyes(points: np.ndarray) -> np.ndarray:
    return np.stack([points[list(eye)].mean(axis=0) for eye in (regions.RIGHT_EYE, regions.LEFT_EYE)])


def test_the_file_is_the_one_on_its_card() -> None:
    card = json.loads((FOLDER / "landmarker.json").read_text("utf-8"))
    weights = (FOLDER / "landmarker.onnx").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"] == Landmarker.load().sha256
    assert len(weights) <= 1_000_000
    assert card["licence"] == "Apache-2.0"
    assert card["data"]
    assert card["metrics"]


def test_the_standard_face_is_symmetric_closed_and_stands_where_the_five_points_are() -> None:
    points = from_five(face().points)
    over = points[list(regions.MIRRORED)] * [-1, 1] + [400, 0]
    np.testing.assert_allclose(points, over, atol=1e-2)
    np.testing.assert_allclose(eyes(points), face().points[:2], atol=8)
    oval = points[list(regions.OVAL)]
    x, y = oval.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert 50 * 70 < area < 90 * 110  # of a template square of 100: as large as a face, and not crossed
    inner = points[[i for i in range(regions.COUNT) if i not in regions.OVAL]]
    assert (inner.min(axis=0) > oval.min(axis=0)).all()
    assert (inner.max(axis=0) < oval.max(axis=0)).all()
    turned = from_five(face(side=200, turn=np.pi / 2).points)  # twice as large, and down is left
    np.testing.assert_allclose(turned - [200, 150], 2 * (points - [200, 150])[:, ::-1] * [-1, 1], atol=2e-2)


def test_it_finds_the_eyes_the_nose_and_the_mouth_of_a_portrait(portrait: tuple[np.ndarray, Face]) -> None:
    image, found = portrait
    points = landmarks(image, found)
    apart = float(np.linalg.norm(found.points[0] - found.points[1]))
    np.testing.assert_allclose(eyes(points), found.points[:2], atol=0.12 * apart)
    np.testing.assert_allclose(points[[30, 48, 54]], found.points[2:], atol=0.2 * apart)
    assert points[8, 1] > points[57, 1] > points[33, 1] > points[27, 1] > points[74, 1]  # chin, lip, nose, ridge, brow


def test_a_mirrored_portrait_has_mirrored_points(portrait: tuple[np.ndarray, Face]) -> None:
    image, found = portrait
    width = image.shape[1]
    five = (found.points * [-1, 1] + [width, 0])[[1, 0, 2, 4, 3]].astype(np.float32)
    other = landmarks(np.ascontiguousarray(image[:, ::-1]), Face(0, 0.0, found.box, five, 1.0))
    back = other[list(regions.MIRRORED)] * [-1, 1] + [width, 0]
    points = landmarks(image, found)
    assert np.linalg.norm(back - points, axis=1).mean() < 0.06 * np.linalg.norm(points[36] - points[45])


def test_a_portrait_of_half_the_size_has_its_points_at_half_the_place(portrait: tuple[np.ndarray, Face]) -> None:
    image, found = portrait
    small = np.asarray(Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2)))
    half = landmarks(small, Face(0, 0.0, found.box, found.points / 2, 1.0))
    points = landmarks(image, found)
    assert np.linalg.norm(2 * half - points, axis=1).mean() < 0.03 * np.linalg.norm(points[36] - points[45])
