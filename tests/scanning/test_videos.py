"""A detector of videos in a scan: windows of frames in a row, one score, a timeline; an image is a state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from unmask.bundles import write
from unmask.faces import FaceDetector
from unmask.faces.window import windows
from unmask.scanning.options import Options
from unmask.scanning.pipeline import FEWEST_WINDOWS, Scanner
from unmask.types import Card, Face, Frame, InputSpec, Pixels, UnmaskError

from .make import SIZE, calibration, clip, save

FRAMES = 4


def write_flicker(folder: Path) -> Path:
    """A net that looks at nothing but changes from frame to frame: log-odds = 400 * mean |x(t + 1) - x(t)| - 8."""
    weights = {
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "end": np.array([FRAMES], np.int64),
        "before_end": np.array([FRAMES - 1], np.int64),
        "axis": np.array([1], np.int64),
        "head": np.array([[-200, 200]], np.float32),
        "bias": np.array([4, -4], np.float32),
        "shape": np.array([-1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["image", "second", "end", "axis"], ["later"]),
        helper.make_node("Slice", ["image", "first", "before_end", "axis"], ["earlier"]),
        helper.make_node("Sub", ["later", "earlier"], ["change"]),
        helper.make_node("Abs", ["change"], ["size"]),
        helper.make_node("ReduceMean", ["size"], ["mean"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "flicker",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", FRAMES, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.with_name(folder.name + ".onnx")
    source.write_bytes(model.SerializeToString())
    card = Card(
        name="flicker", version="1", summary="For tests only.", method="by hand", calibration=calibration(),
        input=InputSpec(size=SIZE, margin=1.3, frames=FRAMES), licence="Apache-2.0", files={},
    )  # fmt: skip
    write(folder, card, {"model.onnx": source})
    return folder


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Scanner:
    return Options(detector=str(write_flicker(tmp_path_factory.mktemp("flicker"))), frames=8).ready()


@pytest.fixture(scope="module")
def small(portrait: Pixels) -> Pixels:
    return np.ascontiguousarray(portrait[:320:2, 64:384:2])


def flickering(picture: Pixels, count: int) -> list[Pixels]:
    """Every other frame is brighter: frames an even number apart look alike."""
    return [np.clip(picture.astype(int) + 40 * (i % 2), 0, 255).astype(np.uint8) for i in range(count)]


def test_what_changes_from_frame_to_frame_is_one_score_with_a_timeline(
    scanner: Scanner, small: Pixels, tmp_path: Path
) -> None:
    report = replace(scanner, pictures=True).scan(clip(flickering(small, 30), tmp_path / "flicker.mp4"))
    assert report.state == "fake"
    (face,) = report.faces
    assert [s.frames for s in face.samples] == [FRAMES] * FEWEST_WINDOWS
    # Four windows of 4 among 30 frames: parts of 7.5, they begin at 1, 9, 16 and 24, and their middles are two later.
    assert [s.frame for s in face.samples] == [3, 11, 18, 26]
    assert all(s.score > 0.9 for s in face.samples)
    assert report.media is not None
    assert report.media.frames_read == FRAMES * FEWEST_WINDOWS
    assert face.thumbnail is not None
    assert face.heat is None
    still = scanner.scan(clip([small] * 30, tmp_path / "still.mp4"))
    assert still.state == "real"
    assert len(still.faces[0].samples) == FEWEST_WINDOWS


def test_an_image_and_a_short_video_are_states_not_numbers(scanner: Scanner, small: Pixels, tmp_path: Path) -> None:
    for path, seen in (
        (save(small, tmp_path / "face.png"), "an image"),
        (clip([small] * 3, tmp_path / "short.mp4"), "a video of 3 frames"),
    ):
        report = scanner.scan(path)
        assert report.state == "not_applicable"
        assert report.score is None
        assert report.reasons[0] == f"{seen}: this detector needs a video of at least 4 frames"
        assert not report.faces


def test_nobody_is_followed_across_a_cut(scanner: Scanner, small: Pixels, tmp_path: Path) -> None:
    grey = np.full_like(small, 90)
    cut = clip([small if i % 4 < 2 else grey for i in range(16)], tmp_path / "cut.mp4")
    report = scanner.scan(cut)
    assert report.state == "not_applicable"
    assert report.reasons[0] == "no face stays in sight for 4 frames in a row, in 4 windows of the video"


def test_all_frames_of_a_window_are_cut_by_one_matrix(small: Pixels) -> None:
    search, spec = FaceDetector.load("embedded"), InputSpec(size=SIZE, margin=1.3)
    frames = [Frame(i, i / 25, np.roll(small, 4 * i, axis=1)) for i in range(3)]
    found = [search.find(f.image, f.index, f.t) for f in frames]
    (window,) = windows(frames, found, spec)
    assert window.crop.image.shape == (3, SIZE, SIZE, 3)
    # The face moves by four pixels a frame, and so it does in the crops: nothing follows it.
    points = np.stack([face.points for face in window.faces]) @ window.crop.matrix[:, :2].T
    step = np.diff(points.mean(1), axis=0)
    np.testing.assert_allclose(step, [[4 * window.crop.matrix[0, 0], 0.0]] * 2, atol=1.5)
    assert window.crop.face.frame == 1
    np.testing.assert_allclose(window.crop.face.points, np.mean([f.points for f in window.faces], 0), atol=1e-3)


def test_a_face_that_is_lost_in_one_frame_is_in_no_window(small: Pixels) -> None:
    face = Face(0, 0.0, (10.0, 10.0, 60.0, 60.0), np.zeros((5, 2), np.float32), 0.99)
    frames = [Frame(i, i / 25, small) for i in range(3)]
    assert windows(frames, [[face], [], [face]], InputSpec(size=SIZE)) == []


def test_windows_of_another_length_are_refused(scanner: Scanner) -> None:
    with pytest.raises(UnmaskError, match=r"scores crops of uint8 \(N, 4, "):
        scanner.scorer.read(np.zeros((1, FRAMES + 1, SIZE, SIZE, 3), np.uint8))
