"""The face detector's arithmetic on a net that fires on white, and YuNet against OpenCV where its weights are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from unmask.faces.align import TEMPLATES, crop
from unmask.faces.detector import OUTPUTS, STRIDES, FaceDetector, decode, overlaps, pad, shrink
from unmask.types import InputSpec, Pixels, UnmaskError


def white_face_detector(path: Path) -> Path:
    """Fires at stride 8 where all 8 x 8 pixels are white; the box has 16 pixels and begins at the cell's corner - 8."""
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> None:
        constants.append(numpy_helper.from_array(value, name))

    constant("white", np.array(1 / 255, np.float32))
    constant("zero", np.array(0, np.float32))
    constant("column", np.array([1, -1, 1], np.int64))
    box = [0, 0, np.log(2), np.log(2)]
    constant("bbox_8_row", np.array(box, np.float32))
    constant("kps_8_row", (TEMPLATES["gend5"] * 2 - 1).ravel().astype(np.float32))
    constant("bbox_row", np.zeros(4, np.float32))
    constant("kps_row", np.zeros(10, np.float32))
    for s in STRIDES:
        nodes += [
            helper.make_node("AveragePool", ["input"], [f"pool_{s}"], kernel_shape=[s, s], strides=[s, s]),
            helper.make_node("ReduceMean", [f"pool_{s}"], [f"mean_{s}"], axes=[1], keepdims=1),
            helper.make_node("Reshape", [f"mean_{s}", "column"], [f"column_{s}"]),
            helper.make_node("Mul", [f"column_{s}", "white" if s == 8 else "zero"], [f"cls_{s}"]),
            helper.make_node("Identity", [f"cls_{s}"], [f"obj_{s}"]),
            helper.make_node("Mul", [f"column_{s}", "zero"], [f"zero_{s}"]),
            helper.make_node("Add", [f"zero_{s}", "bbox_8_row" if s == 8 else "bbox_row"], [f"bbox_{s}"]),
            helper.make_node("Add", [f"zero_{s}", "kps_8_row" if s == 8 else "kps_row"], [f"kps_{s}"]),
        ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "H", "W"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS]
    graph = helper.make_graph(nodes, "white", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    return FaceDetector.load(str(white_face_detector(tmp_path_factory.mktemp("face_detector") / "white.onnx")))


@pytest.fixture(scope="module")
def yunet(shared_weights: Path) -> FaceDetector:
    return FaceDetector.load(str(shared_weights / "yunet_n_dynamic.onnx"))


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[Pixels]:
    """Two images of each set that holds stills."""
    sets = ("lfw_deepfunneled", "utkface_crop", "140k_stylegan256", "ciplab_photoshop", "dfdc_faces224")
    paths = [p for s in sets for p in sorted((shared_data / s / "real").rglob("*.jpg"))[5:400:200]]
    return [np.asarray(Image.open(p).convert("RGB")) for p in paths]


def black(height: int, width: int, *squares: tuple[int, int, int]) -> Pixels:
    """Black but for white squares (x, y, side)."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 255
    return image


def test_a_cell_becomes_a_box_and_points(white: FaceDetector) -> None:
    # Cell column 5, row 3: corner (40, 24); 16 pixels about it; points of the template from -1 to 1 cells.
    (face,) = white.find(black(96, 160, (40, 24, 8)), frame=7, t=0.5)
    assert face.box == pytest.approx((32, 16, 48, 32))
    np.testing.assert_allclose(face.points, TEMPLATES["gend5"] * 16 + [32, 16], atol=1e-4)
    assert (face.frame, face.t) == (7, 0.5)
    assert face.score == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 6])
def test_coordinates_are_the_large_picture_s(white: FaceDetector, scale: int) -> None:
    image = black(180, 320, (40, 24, 8), (200, 104, 8))
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    boxes = sorted(face.box for face in white.find(large))
    assert len(boxes) == 2
    np.testing.assert_allclose(boxes[0], np.array((32, 16, 48, 32)) * scale, atol=0.6 * scale)
    np.testing.assert_allclose(boxes[1], np.array((192, 96, 208, 112)) * scale, atol=0.6 * scale)


def test_a_second_look_finds_what_the_first_cannot(white: FaceDetector) -> None:
    image = black(640, 640, (80, 160, 8))  # four pixels of the first look, no whole cell
    (face,) = white.find(image)
    assert face.box == pytest.approx((72, 152, 88, 168), abs=0.1)


def test_a_thorough_search_finds_small_faces_beside_large_ones(white: FaceDetector) -> None:
    image = black(1280, 1280, (32 * 4, 32 * 4, 32), (800, 800, 8))
    assert len(white.find(image)) == 1
    boxes = [face.box for face in white.find(image, thorough=True)]
    assert any(box == pytest.approx((792, 792, 808, 808), abs=0.1) for box in boxes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (33, 31), (3000, 20)])
def test_odd_shapes_hold_no_face(white: FaceDetector, shape: tuple[int, int]) -> None:
    assert white.find(np.zeros((*shape, 3), np.uint8), thorough=True) == []


def test_what_is_no_picture_is_refused(white: FaceDetector) -> None:
    with pytest.raises(UnmaskError, match="uint8"):
        white.find(np.zeros((40, 40), np.uint8))


def test_overlaps_by_hand() -> None:
    # 2x2 and 2x2 sharing 1x2: 2 / (4 + 4 - 2); disjoint; inside: 1 / 4
    boxes = np.array([(1, 0, 3, 2), (5, 5, 6, 6), (0, 0, 1, 1)], np.float32)
    np.testing.assert_allclose(overlaps(np.array((0, 0, 2, 2), np.float32), boxes), [1 / 3, 0, 1 / 4], rtol=1e-6)


def test_of_overlapping_boxes_the_surest_stays() -> None:
    outputs = {name: np.zeros((1, 4 if name.endswith("_8") else 1, 1), np.float32) for name in OUTPUTS}
    outputs["cls_8"][0, :, 0] = outputs["obj_8"][0, :, 0] = [0.8, 0.9, 0.6, 0.95]
    for s in STRIDES:
        n = outputs[f"cls_{s}"].shape[1]
        outputs[f"bbox_{s}"], outputs[f"kps_{s}"] = np.zeros((1, n, 4), np.float32), np.zeros((1, n, 10), np.float32)
    outputs["bbox_8"][0, :3, 2:] = np.log(4)  # three boxes of 32 pixels, 8 apart; the fourth has 8 pixels
    found = decode(outputs, 32, 0.7)
    np.testing.assert_allclose(found.scores, [0.95, 0.9])
    np.testing.assert_allclose(found.boxes, [(20, -4, 28, 4), (-8, -16, 24, 16)])


def test_shrinking_keeps_positions() -> None:
    y, x = np.mgrid[0:1080, 0:1920] + 0.5
    ramp = np.stack([x / 1920 * 255, y / 1080 * 255, 0 * x], axis=-1).round().astype(np.uint8)
    for side in (320, 640, 1280):
        small, scale = shrink(ramp, side)
        assert small.shape[1] == side
        rows, columns = (np.arange(n) + 0.5 for n in small.shape[:2])
        assert np.abs(small[5, :, 0] - columns * scale[0] / 1920 * 255).max() < 1.1
        assert np.abs(small[:, 5, 1] - rows * scale[1] / 1080 * 255).max() < 1.1


def test_padding_is_bgr_on_black() -> None:
    tensor = pad(np.full((33, 20, 3), (10, 20, 30), np.uint8))
    assert tensor.shape == (1, 3, 64, 32)
    np.testing.assert_array_equal(tensor[0, :, 32, 19], [30, 20, 10])
    assert tensor.sum() == 33 * 20 * 60


def test_files_that_are_no_face_detector(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="no face detector at"):
        FaceDetector.load(str(tmp_path / "none.onnx"))
    (tmp_path / "junk.onnx").write_bytes(b"not a model")
    with pytest.raises(UnmaskError, match="not a readable ONNX"):
        FaceDetector.load(str(tmp_path / "junk.onnx"))
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]), ir_version=9)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UnmaskError, match="YuNet's layout"):
        FaceDetector.load(str(tmp_path / "other.onnx"))


def test_a_face_detector_for_one_size_is_refused(shared_weights: Path) -> None:
    with pytest.raises(UnmaskError, match="free height"):
        FaceDetector.load(str(shared_weights / "yunet_n_320_320.onnx"))


def test_yunet_as_opencv_runs_it(yunet: FaceDetector, shared_weights: Path, pictures: list[Pixels]) -> None:
    cv2 = pytest.importorskip("cv2")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    compared = 0
    for image in pictures:
        height, width = image.shape[:2]
        weights = str(shared_weights / "yunet_n_dynamic.onnx")
        detector = cv2.FaceDetectorYN.create(weights, "", (width, height), 0.7, 0.3, 5000)
        _, theirs = detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
        tensor = pad(image)
        outputs = yunet._session.run(OUTPUTS, {"input": tensor})
        ours = decode(dict(zip(OUTPUTS, outputs, strict=True)), tensor.shape[3], 0.7)
        theirs = theirs[np.argsort(-theirs[:, 14])]
        boxes = np.concatenate([theirs[:, :2], theirs[:, :2] + theirs[:, 2:4]], axis=1)
        np.testing.assert_allclose(ours.boxes, boxes, atol=1e-2)
        np.testing.assert_allclose(ours.points.reshape(-1, 10), theirs[:, 4:14], atol=1e-2)
        np.testing.assert_allclose(ours.scores, theirs[:, 14], atol=1e-4)
        compared += len(theirs)
    assert compared >= len(pictures)


def test_yunet_s_points_are_in_order(yunet: FaceDetector, pictures: list[Pixels]) -> None:
    for image in pictures:
        left, right, nose, mouth_left, mouth_right = yunet.find(image)[0].points
        assert left[0] < nose[0] + 5
        assert left[0] < right[0]
        assert mouth_left[0] < mouth_right[0]
        assert max(left[1], right[1]) < nose[1] + 3 < max(mouth_left[1], mouth_right[1]) + 5


def test_the_same_face_is_found_in_an_enlarged_picture(yunet: FaceDetector, pictures: list[Pixels]) -> None:
    """Its crop is the same image, which is what counts. YuNet's points wander by a tenth of the eyes at worst."""
    spec = InputSpec(size=64, margin=1.3)
    errors, likeness = [], []
    for image in pictures:
        face = yunet.find(image)[0]
        size = (image.shape[1] * 5, image.shape[0] * 5)
        large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        other = yunet.find(large)[0]
        eyes = np.linalg.norm(face.points[1] - face.points[0])
        errors.append(np.linalg.norm(other.points / 5 - face.points, axis=1).mean() / eyes)
        crops = crop(image, face, spec).image, crop(large, other, spec).image
        likeness.append(np.corrcoef(crops[0].ravel(), crops[1].ravel())[0, 1])
    assert np.median(errors) < 0.06
    assert np.median(likeness) > 0.85


def test_grey_and_plain_pictures(yunet: FaceDetector, pictures: list[Pixels]) -> None:
    grey = np.asarray(Image.fromarray(pictures[0]).convert("L").convert("RGB"))
    assert len(yunet.find(grey)) == 1
    for value in (0, 128, 255):
        assert yunet.find(np.full((720, 1280, 3), value, np.uint8), thorough=True) == []
