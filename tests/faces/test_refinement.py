"""The face detector's second stage on nets whose answer is known: points come back to the image, doubts count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.faces.test_detector import black, white_face_detector
from unmask.faces.align import TEMPLATES
from unmask.faces.detector import FaceDetector
from unmask.faces.refinement import MOST, SPEC, Refiner
from unmask.types import UnmaskError

SHOWN = 0.5 + (TEMPLATES["gend5"] - 0.5) / np.float32(SPEC.margin)  # where a well placed face has its points


def sure(points: np.ndarray, side: int = SPEC.size) -> bytes:
    """A net that sees `points` (5, 2) in every close-up, and a face the surer, the whiter it is."""
    constants = [
        numpy_helper.from_array(points.astype(np.float32)[None], "points_of_one"),
        numpy_helper.from_array(np.array(1 / 255, np.float32), "white"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "one_each"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "white"], ["face"]),
        helper.make_node("Mul", ["mean", "zero"], ["nought"]),
        helper.make_node("Reshape", ["nought", "one_each"], ["column"]),
        helper.make_node("Add", ["column", "points_of_one"], ["points"]),
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, side, side])
    outputs = [
        helper.make_tensor_value_info("points", TensorProto.FLOAT, ["N", 5, 2]),
        helper.make_tensor_value_info("face", TensorProto.FLOAT, ["N"]),
    ]
    graph = helper.make_graph(nodes, "sure", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    return bytes(model.SerializeToString())


def test_points_come_back_to_the_picture() -> None:
    # Faces upright, upside down and large: a net that sees the template where it belongs leaves every point in place,
    # one that sees it a tenth of the close-up lower down moves all points down as the face has it. (Were it further to
    # the right, whatever it looks at, the look at the mirrored close-up would take it back.)
    image = np.full((400, 600, 3), 255, np.uint8)
    faces = np.stack([TEMPLATES["gend5"] * 50 + [20, 30], TEMPLATES["gend5"] * -200 + [400, 300]]).astype(np.float32)
    same, chance = Refiner(sure(SHOWN), "sure").look(image, faces)
    np.testing.assert_allclose(same, faces, atol=1e-2)
    np.testing.assert_allclose(chance, 1, atol=1e-6)
    moved, _ = Refiner(sure(SHOWN + np.float32([0, 0.1])), "sure").look(image, faces)
    shift = 0.1 * SPEC.margin
    np.testing.assert_allclose(moved - faces, [[[0, shift * 50]] * 5, [[0, -shift * 200]] * 5], atol=1e-2)


def test_many_faces_keep_their_order() -> None:
    image = np.zeros((60, 40 * (MOST + 3), 3), np.uint8)
    image[:, 40 * MOST :] = 255  # the last three are white
    faces = np.stack([TEMPLATES["gend5"] * 30 + [40 * i + 5, 10] for i in range(MOST + 3)]).astype(np.float32)
    points, chance = Refiner(sure(SHOWN), "sure").look(image, faces)
    np.testing.assert_allclose(points, faces, atol=0.05)
    assert (chance[: MOST - 1] < 0.01).all()
    assert (chance[MOST + 1 :] > 0.9).all()


def test_points_that_span_no_face_are_none() -> None:
    image = np.full((50, 50, 3), 255, np.uint8)
    points, chance = Refiner(sure(SHOWN), "sure").look(image, np.full((1, 5, 2), 7, np.float32))
    assert chance.tolist() == [0]
    np.testing.assert_array_equal(points, 7)
    assert len(Refiner(sure(SHOWN), "sure").look(image, np.zeros((0, 5, 2), np.float32))[0]) == 0


def test_both_nets_have_their_say(tmp_path: Path) -> None:
    # White squares on black: the first net is certain of them, the second sees little white in its close-up.
    first = white_face_detector(tmp_path / "white.onnx").read_bytes()
    picture = black(96, 160, (40, 24, 8))
    alone = FaceDetector(first, "alone")
    (face,) = alone.find(picture)
    both = FaceDetector(first, "both", confident=0.01, refiner=sure(SHOWN))
    (seen,) = both.find(picture)
    assert 0.01 < seen.score < 0.7 < face.score
    assert FaceDetector(first, "strict", confident=0.7, refiner=sure(SHOWN)).find(picture) == []
    np.testing.assert_allclose(seen.points, face.points, atol=0.05)
    assert both.sha256 != alone.sha256


def test_a_card_beside_the_file_names_its_parts(tmp_path: Path) -> None:
    path = white_face_detector(tmp_path / "white.onnx")
    (tmp_path / "second.onnx").write_bytes(sure(SHOWN))
    card = {"name": "by card", "threshold": 0.3, "refiner": "second.onnx", "more": "to read"}
    path.with_suffix(".json").write_text(json.dumps(card))
    face_detector = FaceDetector.load(str(path))
    assert (face_detector.name, face_detector.confident) == ("by card", 0.3)
    assert face_detector.sha256 == FaceDetector(path.read_bytes(), "x", refiner=sure(SHOWN)).sha256
    for wrong in ({**card, "refiner": "../second.onnx"}, {**card, "threshold": 2}, [1]):
        path.with_suffix(".json").write_text(json.dumps(wrong))
        with pytest.raises(UnmaskError, match="not the card of a face detector"):
            FaceDetector.load(str(path))
    path.with_suffix(".json").write_text(json.dumps({**card, "refiner": "none.onnx"}))
    with pytest.raises(UnmaskError, match="no face detector"):
        FaceDetector.load(str(path))


def test_what_is_no_second_net_is_refused(tmp_path: Path) -> None:
    first = white_face_detector(tmp_path / "white.onnx").read_bytes()
    with pytest.raises(UnmaskError, match="second stage of the face detector x is not a readable ONNX"):
        FaceDetector(first, "x", refiner=b"junk")
    with pytest.raises(UnmaskError, match="of another kind"):
        FaceDetector(first, "x", refiner=sure(SHOWN, side=64))
    with pytest.raises(UnmaskError, match="of another kind"):
        FaceDetector(first, "x", refiner=first)
