"""The face detector's training: labels move exactly, the net learns, the file says what the net says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")
onnxruntime = pytest.importorskip("onnxruntime")

from training.face_detector.loss import assign, eiou_loss, iou, loss  # noqa: E402
from training.face_detector.net import OUTPUTS, STRIDES, FaceDetectorNet, decode, export  # noqa: E402
from training.face_detector.scenes import Composer, moved, placement, tiles, warp  # noqa: E402
from training.face_detector.sources import Picture, fold_of, negatives, overlap, restore, save  # noqa: E402


def face(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """A box with its points where a face has them, and the score 0.9."""
    w, h = x1 - x0, y1 - y0
    points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    return np.array([x0, y0, x1, y1, *(v for x, y in points for v in (x0 + x * w, y0 + y * h)), 0.9], np.float32)


def drawn(side: int, seed: int) -> Picture:
    """A drawn face on noise, so that the tests need nobody's image."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 120, (side, side, 3), dtype=np.uint8)
    x, y = rng.integers(side // 4, side // 2, 2)
    label = face(x, y, x + side // 3, y + int(side / 2.6))
    centre = (int((label[0] + label[2]) / 2), int((label[1] + label[3]) / 2))
    cv2.ellipse(image, centre, (side // 6, int(side / 5.2)), 0, 0, 360, (150, 180, 230), -1)
    for px, py in label[4:14].reshape(5, 2):
        cv2.circle(image, (int(px), int(py)), 3, (20, 20, 60), -1)
    return Picture(f"drawn/{seed}", image, label[None])


# --- geometry --------------------------------------------------------------------------------------------------------


def test_labels_follow_a_quarter_turn_and_a_scale_by_hand() -> None:
    # (x, y) -> (100 - 2 y, 2 x): a quarter turn, twice as large. The box 10..20 x 30..50 becomes 0..40 x 20..40.
    matrix = np.array([[0, -2, 100], [2, 0, 0]], np.float32)
    out = moved(matrix, face(10, 30, 20, 50)[None])[0]
    np.testing.assert_allclose(out[:4], [0, 20, 40, 40], atol=1e-5)
    np.testing.assert_allclose(out[4:6], [100 - 2 * 38, 2 * 13], atol=1e-4)  # the first eye, at (13, 38)
    assert out[14] == np.float32(0.9)


def test_an_eighth_turn_keeps_a_round_face_round() -> None:
    # a circle of radius 10 about (0, 0), turned by any angle, still spans -10..10
    turn = np.sqrt(0.5)
    out = moved(np.array([[turn, -turn, 0], [turn, turn, 0]], np.float32), face(-10, -10, 10, 10)[None])[0]
    np.testing.assert_allclose(out[:4], [-10, -10, 10, 10], atol=1e-4)


def test_a_mirror_swaps_left_and_right() -> None:
    out = moved(np.array([[-1, 0, 100], [0, 1, 0]], np.float32), face(10, 10, 30, 30)[None])[0]
    points = out[4:14].reshape(5, 2)
    np.testing.assert_allclose(points[0], [100 - 24, 18], atol=1e-4)  # the eye at x = 24 is now the left one
    assert points[0, 0] < points[1, 0]
    assert points[3, 0] < points[4, 0]


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8, 1.0, 2.5])
def test_pixels_move_with_their_labels(scale: float) -> None:
    # a bright square with its corner at (40, 60): after the warp its centroid is where the matrix says
    image = np.zeros((128, 128, 3), np.uint8)
    image[60:76, 40:56] = 255
    matrix = np.array([[scale, 0, 7.3], [0, scale, 3.1]], np.float32)
    onto = np.zeros((340, 340, 3), np.uint8)
    warp(image, matrix, onto)
    weight = onto[:, :, 0].astype(float)
    rows, columns = np.mgrid[:340, :340] + 0.5
    centroid = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
    np.testing.assert_allclose(centroid, [scale * 48 + 7.3, scale * 68 + 3.1], atol=0.09)


def test_a_face_is_placed_where_and_as_large_as_asked() -> None:
    matrix = placement(face(10, 20, 50, 80), side=24.0, at=(90, 40), angle=0.0, aspect=1.0, mirror=False)
    x0, y0, x1, y1 = moved(matrix, face(10, 20, 50, 80)[None])[0, :4]
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((90, 40), abs=1e-3)
    assert np.sqrt((x1 - x0) * (y1 - y0)) == pytest.approx(24, abs=1e-3)


def test_tiles_cover_the_square_once() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        covered = np.zeros((192, 192), int)
        for x0, y0, x1, y1 in tiles(rng, 192):
            covered[y0:y1, x0:x1] += 1
        assert (covered == 1).all()


def test_scenes_keep_their_labels_inside_and_repeat_with_the_seed() -> None:
    composer = Composer(
        [
            drawn(200, 1),
            drawn(150, 2),
            Picture("negative/a", np.full((90, 90, 3), 80, np.uint8), np.zeros((0, 15), np.float32)),
        ]
    )
    scenes = [composer.scene(np.random.default_rng(seed), 160) for seed in range(30)]
    assert sum(len(s.boxes) for s in scenes) > 30
    for scene in scenes:
        assert scene.image.shape == (160, 160, 3)
        assert scene.points.shape == (len(scene.boxes), 5, 2)
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= 160).all()
        assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
    again = composer.scene(np.random.default_rng(5), 160)
    np.testing.assert_array_equal(again.image, scenes[5].image)
    np.testing.assert_array_equal(again.boxes, scenes[5].boxes)


# --- sources ---------------------------------------------------------------------------------------------------------


def test_folds_are_stable_and_about_seven_to_one_to_two() -> None:
    folds = [fold_of(f"person {i}") for i in range(4000)]
    assert fold_of("person 0") == folds[0]
    assert folds.count("test") / 4000 == pytest.approx(0.2, abs=0.03)
    assert folds.count("validation") / 4000 == pytest.approx(0.1, abs=0.03)


def test_sizes_of_one_motif_stay_in_one_fold(tmp_path: Path) -> None:
    for motif in ("Kite", "Path", "Opal", "Volna"):
        folder = tmp_path / motif / "contents" / "images"
        folder.mkdir(parents=True)
        for side in (8, 16, 24):
            cv2.imwrite(
                str(folder / f"{side}x{side}.png"), np.random.default_rng(side).integers(0, 255, (side, side, 3))
            )
    found = [path for fold in ("train", "validation", "test") for path in negatives([tmp_path], fold)]
    assert sorted(p.parts[-4] for p in found) == ["Kite", "Opal", "Path", "Volna"]
    assert {p.name for p in found} == {"24x24.png"}


def test_labelled_pictures_survive_the_cache(tmp_path: Path) -> None:
    before = [
        drawn(60, 1),
        drawn(40, 2),
        Picture("negative/a", np.zeros((5, 7, 3), np.uint8), np.zeros((0, 15), np.float32)),
    ]
    save(before, tmp_path / "labels.npz")
    for a, b in zip(before, restore(tmp_path / "labels.npz"), strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.faces, b.faces)


# --- losses ----------------------------------------------------------------------------------------------------------


def test_overlap_and_box_loss_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]])
    # common 1 x 2 = 2, union 4 + 4 - 2 = 6
    assert iou(a, b).item() == pytest.approx(1 / 3)
    assert overlap(a.numpy(), b.numpy())[0, 0] == pytest.approx(1 / 3)
    # hull 3 x 2, centres 1 apart: 1 - 1/3 + 1 / (9 + 4); equal sides add nothing
    assert eiou_loss(a, b).item() == pytest.approx(2 / 3 + 1 / 13, rel=1e-5)


def test_each_face_gets_grid_points_near_it_and_none_elsewhere() -> None:
    grid = torch.tensor([[x * 8.0, y * 8.0, 8.0] for y in range(8) for x in range(8)])
    boxes = torch.cat([grid[:, :2] - 10, grid[:, :2] + 10], dim=1)
    faces = torch.tensor([[6.0, 6.0, 26.0, 26.0], [45.0, 45.0, 49.0, 49.0]])  # the second is smaller than a cell
    answers = assign(torch.full((64,), 0.1), boxes, grid, faces)
    assert set(answers.tolist()) == {-1, 0, 1}
    assert answers[2 * 8 + 2] == 0  # the grid point (16, 16) is the first face's centre
    assert answers[6 * 8 + 6] == 1  # (48, 48) is the one nearest to (47, 47)
    assert (assign(torch.full((64,), 0.1), boxes, grid, faces[:0]) == -1).all()


def test_nothing_is_taught_where_labels_are_doubtful() -> None:
    torch.manual_seed(0)
    net = FaceDetectorNet()
    maps = net(torch.full((1, 3, 64, 64), 100.0))
    none = [torch.zeros(0, 4)], [torch.zeros(0, 5, 2)]
    everywhere = loss(decode(maps), *none, [torch.tensor([[-1.0, -1.0, 65.0, 65.0]])])
    nowhere = loss(decode(maps), *none, [torch.zeros(0, 4)])
    assert everywhere["obj"].item() == 0
    assert nowhere["obj"].item() > 0


# --- the net ---------------------------------------------------------------------------------------------------------


def test_the_net_learns_two_pictures() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = FaceDetectorNet()
    pictures = [drawn(96, 1), drawn(96, 4)]
    image = torch.from_numpy(np.stack([p.image for p in pictures])).permute(0, 3, 1, 2).float()
    labels = [torch.from_numpy(p.faces) for p in pictures]
    truth = [x[:, :4] for x in labels], [x[:, 4:14].unflatten(1, (5, 2)) for x in labels], [torch.zeros(0, 4)] * 2
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(100):
        terms = loss(decode(net(image)), *truth)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    found = decode(net(image))
    best = (found.cls.sigmoid() * found.obj.sigmoid()).argmax(dim=1)
    for i, label in enumerate(labels):
        assert iou(found.boxes[i, best[i]], label[0, :4]).item() > 0.7
        error = (found.points[i, best[i]] - label[0, 4:14].reshape(5, 2)).norm(dim=1).mean()
        assert error.item() < 0.25 * (label[0, 6] - label[0, 4]).item()


def test_the_file_says_what_the_net_says_at_any_size(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = FaceDetectorNet()
    net(torch.rand(4, 3, 64, 64) * 255)  # normalisation statistics other than 0 and 1
    net.eval()
    export(net, tmp_path / "face_detector.onnx")
    assert (tmp_path / "face_detector.onnx").stat().st_size < 600_000
    session = onnxruntime.InferenceSession(str(tmp_path / "face_detector.onnx"), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == list(OUTPUTS)
    for height, width in ((192, 320), (64, 96)):
        image = np.random.default_rng(height).uniform(0, 255, (1, 3, height, width)).astype(np.float32)
        outputs = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"input": image}), strict=True))
        maps = net(torch.from_numpy(image))
        for values, stride in zip(maps, STRIDES, strict=True):
            flat = values.detach().permute(0, 2, 3, 1).flatten(1, 2).numpy()
            sigmoid = 1 / (1 + np.exp(-flat[..., :2]))
            for name, expected in (
                ("cls", sigmoid[..., :1]),
                ("obj", sigmoid[..., 1:]),
                ("bbox", flat[..., 2:6]),
                ("kps", flat[..., 6:]),
            ):
                assert outputs[f"{name}_{stride}"].shape == (1, height * width // stride**2, expected.shape[-1])
                np.testing.assert_allclose(outputs[f"{name}_{stride}"], expected, atol=2e-4)
