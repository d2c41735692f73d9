"""The face detector that ships with the package: the file is the one its card speaks of, and it finds faces."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import unmask.faces
from unmask.faces.detector import FaceDetector

FOLDER = Path(unmask.faces.__file__).parent


@pytest.fixture(scope="module")
def face_detector() -> FaceDetector:
    return FaceDetector.load("embedded")


def test_the_file_is_the_one_on_its_card(face_detector: FaceDetector) -> None:
    card = json.loads((FOLDER / "face_detector.json").read_text("utf-8"))
    weights = (FOLDER / "face_detector.onnx").read_bytes() + (FOLDER / card["refiner"]).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"] == face_detector.sha256
    assert len(weights) < 1_200_000
    assert face_detector.confident == card["threshold"]
    assert card["licence"] == "Apache-2.0"
    assert card["data"]
    assert card["metrics"]


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_finds_the_astronaut(face_detector: FaceDetector, scale: float) -> None:
    data = pytest.importorskip("skimage.data")
    transform = pytest.importorskip("skimage.transform")
    picture = data.astronaut()
    if scale < 1:
        side = int(512 * scale)
        picture = (transform.resize(picture, (side, side), anti_aliasing=True) * 255).astype(np.uint8)
    faces = face_detector.find(picture)
    assert len(faces) == 1
    # her eyes are near (202, 107) and (248, 101) of the 512 px image, her mouth near y = 152
    eyes = faces[0].points[:2] / scale
    np.testing.assert_allclose(eyes, [[202, 107], [248, 101]], atol=12)
    x0, y0, x1, y1 = np.array(faces[0].box) / scale
    assert x0 < 195
    assert x1 > 255
    assert y0 < 90
    assert 150 < y1 < 220


def test_finds_both_of_two_and_each_in_its_place(face_detector: FaceDetector) -> None:
    picture = pytest.importorskip("skimage.data").astronaut()
    pair = np.concatenate([picture[:300, 60:360], picture[:300, 60:360]], axis=1)
    left, right = sorted(face_detector.find(pair), key=lambda face: face.box[0])
    np.testing.assert_allclose(right.points - left.points, np.tile([300, 0], (5, 1)), atol=6)


@pytest.mark.parametrize("value", [0, 127, 255])
def test_sees_no_face_in_a_flat_picture(face_detector: FaceDetector, value: int) -> None:
    assert face_detector.find(np.full((240, 320, 3), value, np.uint8)) == []


def test_sees_no_face_in_noise(face_detector: FaceDetector) -> None:
    rng = np.random.default_rng(0)
    for cells in (240, 30, 8):
        coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        picture = np.kron(coarse, np.ones((240 // cells, 240 // cells, 1), np.uint8))
        assert face_detector.find(picture) == []


def test_sees_no_face_in_textures_and_things(face_detector: FaceDetector) -> None:
    data = pytest.importorskip("skimage.data")
    for picture in (data.brick(), data.grass(), data.gravel(), data.coffee(), data.page(), data.rocket()):
        colour = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
        assert face_detector.find(np.ascontiguousarray(colour)) == []
