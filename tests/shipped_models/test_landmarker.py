"""The landmarker's training: labels move with their pixels, the net learns, the file says what the net says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from training.landmarker import views  # noqa: E402
from training.landmarker.__main__ import Recipe, error, train  # noqa: E402
from training.landmarker.net import LandmarkNet, export  # noqa: E402
from training.landmarker.sources import STORED, Faces, moved, restore  # noqa: E402
from training.landmarker.teacher import MESH, SIDE, Look, Teacher, eye_distance, square  # noqa: E402
from unmask.faces import FaceDetector, matrix  # noqa: E402
from unmask.faces.landmarker import SPEC, Landmarker  # noqa: E402
from unmask.faces.regions import COUNT, LEFT_EYE, MIRRORED, RIGHT_EYE  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402

FIVE = np.array([(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)], np.float32)  # of the template


def shape() -> np.ndarray:
    """81 points of a round face about the template's middle, 0..1; the eyes stand where the template has them."""
    angle = np.linspace(0, 2 * np.pi, COUNT, endpoint=False)
    points = np.stack([0.5 + 0.4 * np.cos(angle), 0.6 + 0.5 * np.sin(angle)], axis=1)
    for eye, (x, y) in ((RIGHT_EYE, FIVE[0]), (LEFT_EYE, FIVE[1])):
        points[list(eye)] = [(x + 0.04 * np.cos(a), y + 0.02 * np.sin(a)) for a in np.arange(6) * np.pi / 3]
    return points.astype(np.float32)


def drawn(count: int = 6) -> Faces:
    """Faces of one shape, larger or smaller, as dots on noise, so that the tests need nobody's image."""
    rng = np.random.default_rng(0)
    size = STORED.size
    crops, points, fives = [], [], []
    for _ in range(count):
        scale = size / STORED.margin * rng.uniform(0.85, 1.15)
        shift = size / 2 + rng.uniform(-5, 5, 2)
        at = [((p - 0.5) * scale + shift).astype(np.float32) for p in (shape(), FIVE)]
        crop = rng.integers(40, 70, (size, size, 3), dtype=np.uint8)
        for x, y in at[0]:
            cv2.circle(crop, (int(x), int(y)), 2, (220, 220, 220), -1)
        crops.append(crop)
        points.append(at[0])
        fives.append(at[1])
    return Faces(np.stack(crops), np.stack(points), np.stack(fives))


def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views whose geometry changes and nothing else."""
    monkeypatch.setattr(views, "distort", lambda rng, image: image)
    monkeypatch.setattr(views, "coarse", lambda image, rng: image)
    monkeypatch.setattr(views, "cover", lambda image, faces, rng: None)


# --- geometry --------------------------------------------------------------------------------------------------------


def test_the_points_are_81_vertices_of_the_mesh_each_once() -> None:
    assert len(MESH) == len(set(MESH)) == COUNT
    assert all(0 <= vertex < 468 for vertex in MESH)


def test_a_look_brings_the_face_to_the_middle_upright_and_as_large_as_it_shall_be() -> None:
    turn = np.deg2rad(30)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
    points = (shape() * 100) @ rotation.T + np.float32([300, 40])
    seen = moved(points, square(points, Look()))
    low, high = seen.min(axis=0), seen.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, SIDE / 2, atol=1e-3)
    assert (high - low).max() == pytest.approx(SIDE / 1.25, abs=1e-3)
    right, left = seen[list(RIGHT_EYE)].mean(axis=0), seen[list(LEFT_EYE)].mean(axis=0)
    assert right[1] == pytest.approx(left[1], abs=1e-3)
    assert right[0] < left[0]
    mirrored = moved(points, square(points, Look(mirror=True)))
    np.testing.assert_allclose(mirrored, seen * [-1, 1] + [SIDE, 0], atol=1e-3)
    zoomed = moved(points, square(points, Look(zoom=2.0, shift=(0.1, 0))))  # a larger square, further to the right
    np.testing.assert_allclose(
        zoomed.mean(axis=0), (seen.mean(axis=0) - SIDE / 2) / 2 + [0.4 * SIDE, SIDE / 2], atol=1e-3
    )


def test_pixels_move_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    plain(monkeypatch)
    faces, hit = drawn(), []
    for seed in range(8):
        image, points = views.view(faces, seed % len(faces), np.random.default_rng(seed))
        assert image.shape == (112, 112, 3)
        at = np.floor(points * SPEC.size).astype(int)
        inside = ((at >= 0) & (at < SPEC.size)).all(axis=1)
        hit.append(image[at[inside, 1], at[inside, 0], 0] > 150)  # the dot that was drawn there
    assert np.concatenate(hit).mean() > 0.95


def test_a_mirrored_view_calls_the_right_eye_the_left_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain(monkeypatch)
    for seed in range(6):  # both kinds come up
        _, points = views.view(drawn(), 0, np.random.default_rng(seed))
        assert points[list(RIGHT_EYE), 0].mean() < points[list(LEFT_EYE), 0].mean()


def test_views_repeat_with_the_seed_and_differ_without() -> None:
    faces = drawn()
    (a, p), (b, q), (c, _) = (views.batch(faces, np.random.default_rng(s), 4) for s in (1, 1, 2))
    assert a.dtype == np.uint8
    assert np.array_equal(a, b)
    assert np.array_equal(p, q)
    assert not np.array_equal(a, c)


def test_the_mean_shape_is_that_of_aligned_faces_and_symmetric() -> None:
    faces = drawn()
    mean = views.mean_shape(faces)
    np.testing.assert_allclose(mean[list(MIRRORED)] * [-1, 1] + [1, 0], mean, atol=1e-6)
    placed = moved(shape() * 100, matrix(FIVE * 100, SPEC)) / SPEC.size  # size and place of a face change nothing
    symmetric = (placed + placed[list(MIRRORED)] * [-1, 1] + [1, 0]) / 2
    np.testing.assert_allclose(mean, symmetric, atol=1e-4)


# --- the teacher ------------------------------------------------------------------------------------------------------


def test_the_teachers_looks_agree_on_a_portrait(shared_weights: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    teacher = Teacher(shared_weights / "mediapipe_face_landmark.tflite")
    image = np.asarray(Image.open(REPOSITORY / "samples" / "portrait-real.jpg").convert("RGB"))
    face = FaceDetector.load().find(image)[0]
    seen = teacher.see(image, face.points)
    assert seen.presence > 0.9
    assert seen.spread < 0.05
    eyes = np.stack([seen.points[list(eye)].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE)])
    np.testing.assert_allclose(eyes, face.points[:2], atol=0.15 * eye_distance(seen.points))


def test_what_is_no_teacher_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(UnmaskError, match=r"--teacher wants MediaPipe's face_landmark\.tflite"):
        Teacher(tmp_path / "none.tflite")


# --- learning ---------------------------------------------------------------------------------------------------------


def test_the_error_by_hand() -> None:
    truth = torch.zeros(2, COUNT, 2)
    truth[0, list(LEFT_EYE), 0] = 0.4  # eyes 0.4 apart, the other face's 0.05
    truth[1, list(LEFT_EYE), 0] = 0.05
    found = truth.clone()
    found[:, 0] += torch.tensor([0.03, 0.04])  # 0.05 off
    e = error(found, truth)
    assert e.shape == (2, COUNT)
    assert e[0, 0].item() == pytest.approx(0.05 / 0.4, rel=1e-3)
    assert e[1, 0].item() == pytest.approx(0.05 / 0.15, rel=1e-3)  # never divided by less than 0.15
    assert e[:, 1:].max().item() < 1e-3


def test_the_net_learns_drawn_faces() -> None:
    torch.set_num_threads(1)
    faces = drawn()
    still = views.batch(faces, np.random.default_rng(9), 16)
    first = LandmarkNet(torch.from_numpy(views.mean_shape(faces))).eval()
    net = train(faces, faces, Recipe(steps=40, size=6, warm_up=5, memory=0.9))

    def wrong(of: LandmarkNet) -> float:
        image = torch.from_numpy(still[0]).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            return error(of(image), torch.from_numpy(still[1])).mean().item()

    assert wrong(net) < 0.9 * wrong(first)


def test_the_file_says_what_the_net_says(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = LandmarkNet(torch.rand(COUNT, 2))
    net.train()(torch.rand(4, 3, 112, 112) * 255)  # normalisation statistics other than 0 and 1
    torch.nn.init.normal_(net.head.weight, std=0.05)
    export(net, tmp_path / "landmarker.onnx")
    assert (tmp_path / "landmarker.onnx").stat().st_size <= 1_000_000
    run = Landmarker.load(str(tmp_path / "landmarker.onnx"))._session.run
    for count in (1, 3):
        image = np.random.default_rng(count).uniform(0, 255, (count, 3, 112, 112)).astype(np.float32)
        with torch.no_grad():
            want = net(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(run(["points"], {"input": image})[0], want, atol=1e-4)


def test_labels_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "crops.npy", np.zeros((2, 8, 8, 3), np.uint8))
    np.savez(tmp_path / "points.npz", points=np.zeros((2, 68, 2)), five=np.zeros((2, 5, 2)))
    with pytest.raises(UnmaskError, match="labels of another kind"):
        restore(tmp_path)
