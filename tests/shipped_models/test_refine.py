"""The second net of the face detector: close-ups, views that move their labels, and both tasks are learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from training.face_detector import closeups  # noqa: E402
from training.face_detector.closeups import STORED, Closeups  # noqa: E402
from training.face_detector.evaluate import ONE_LOOK, POINTS, Row, known, limits, matched, overall  # noqa: E402
from training.face_detector.net import FaceDetectorNet  # noqa: E402
from training.face_detector.net import export as export_face_detector  # noqa: E402
from training.face_detector.refine import Recipe, Round, apart, averaged, tensors, terms, train  # noqa: E402
from training.face_detector.refinement_net import RefineNet, export  # noqa: E402
from training.face_detector.sources import Picture, Teacher  # noqa: E402
from unmask.faces.align import TEMPLATES  # noqa: E402
from unmask.faces.detector import FaceDetector  # noqa: E402
from unmask.faces.refinement import SPEC, Refiner  # noqa: E402
from unmask.train.optim import Average  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402

TEMPLATE = TEMPLATES["gend5"]


def drawn(count: int = 6) -> Closeups:
    """Faces as five dots on noise, and noise without, so that the tests need nobody's image."""
    rng = np.random.default_rng(0)
    size = STORED.size
    noise = rng.integers(40, 70, (2 * count, size, size, 3), dtype=np.uint8)
    points = []
    for crop in noise[:count]:
        scale = size / STORED.margin * rng.uniform(0.85, 1.15)
        five = (TEMPLATE - 0.5) * scale + size / 2 + rng.uniform(-4, 4, 2)
        for x, y in five:
            cv2.circle(crop, (int(x), int(y)), 2, (230, 230, 230), -1)
        points.append(five)
    return Closeups(noise[:count], np.stack(points).astype(np.float32), noise[count:])


def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views whose geometry changes and nothing else."""
    monkeypatch.setattr(closeups, "distort", lambda rng, image: image)
    monkeypatch.setattr(closeups, "coarse", lambda image, rng: image)
    monkeypatch.setattr(closeups, "cover", lambda image, crops, rng: None)


# --- close-ups -------------------------------------------------------------------------------------------------------


def test_pixels_move_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    plain(monkeypatch)
    hit = []
    for seed in range(20):
        image, points = closeups.face(drawn(), np.random.default_rng(seed))
        assert image.shape == (SPEC.size, SPEC.size, 3)
        at = np.floor(points * SPEC.size).astype(int)
        inside = ((at >= 0) & (at < SPEC.size)).all(axis=1)
        hit.append(image[at[inside, 1], at[inside, 0], 0] > 120)
        assert points[0, 0] < points[1, 0]  # mirrored or not, the left eye of the image is first
    assert np.concatenate(hit).mean() > 0.95


def test_a_batch_repeats_with_its_seed_and_has_both_kinds() -> None:
    (a, p, f), (b, q, g), (c, _, _) = (closeups.batch(drawn(), np.random.default_rng(s), 20) for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert np.array_equal(p, q)
    assert np.array_equal(f, g)
    assert not np.array_equal(a, c)
    assert 0 < f.sum() < 20
    assert not p[~f].any()


def test_other_things_are_cut_away_from_faces(tmp_path: Path) -> None:
    # An image that is white on its right half; a face fills the left: everything cut must show some white.
    torch.manual_seed(0)
    export_face_detector(FaceDetectorNet().eval(), tmp_path / "face_detector.onnx")
    face_detector = FaceDetector((tmp_path / "face_detector.onnx").read_bytes(), "blank")
    image = np.zeros((200, 400, 3), np.uint8)
    image[:, 200:] = 255
    face = np.array([[0, 0, 200, 200, *(TEMPLATE * 200).ravel(), 0.9]], np.float32)
    crops = closeups.others_of([Picture("drawn/a", image, face)] * 40, face_detector)
    middle = crops[:, 40:-40, 40:-40].mean(axis=(1, 2, 3))
    assert len(crops) > 5
    assert middle.mean() > 128
    nothing = closeups.others_of([Picture("drawn/b", image, face[:0])] * 3, face_detector)
    assert len(nothing) == 24  # eight places of each faceless image


def test_close_ups_survive_the_cache_and_others_are_refused(tmp_path: Path) -> None:
    before = drawn()
    closeups.save(before, tmp_path / "c.npz")
    after = closeups.restore(tmp_path / "c.npz")
    for name in ("faces", "points", "others"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    small = Closeups(before.faces[:, :8, :8], before.points, before.others)
    closeups.save(small, tmp_path / "d.npz")
    with pytest.raises(UnmaskError, match="another kind"):
        closeups.restore(tmp_path / "d.npz")


def test_a_teacher_of_mirrored_looks_has_no_side(shared_weights: Path) -> None:
    picture = pytest.importorskip("skimage.data").astronaut()[:, :, ::-1]
    teacher = Teacher(shared_weights / "yunet_n_dynamic.onnx", (256, 320), mirrored=True)
    (here,), (there,) = teacher.faces(picture), teacher.faces(np.ascontiguousarray(picture[:, ::-1]))
    back = there[4:14].reshape(5, 2)[[1, 0, 2, 4, 3]] * [-1, 1] + [512, 0]
    np.testing.assert_allclose(here[4:14].reshape(5, 2), back, atol=1e-2)
    eyes = here[4:8].reshape(2, 2)
    np.testing.assert_allclose(eyes, [[202, 107], [248, 101]], atol=8)
    closer, points = closeups.faces_of([picture], teacher)
    assert closer.shape == (1, STORED.size, STORED.size, 3)
    want = STORED.size * (0.5 + (TEMPLATE - 0.5) / STORED.margin)
    np.testing.assert_allclose(points[0], want, atol=6)


# --- learning --------------------------------------------------------------------------------------------------------


def test_both_terms_by_hand() -> None:
    truth = torch.tensor([[[0.3, 0.5], [0.7, 0.5], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]]).repeat(2, 1, 1)
    found = truth.clone()
    found[0, 2] += torch.tensor([0.03, 0.04])  # 0.05 off, eyes 0.4 apart: an eighth, of one point in five
    found[1] += 1  # no face: nobody asks where its points are
    exact, kind = terms((found, torch.tensor([0.0, 0.0])), truth, torch.tensor([True, False]))
    assert exact.item() == pytest.approx(0.125 / 5, rel=1e-2)
    assert kind.item() == pytest.approx(np.log(2))
    assert apart(found, truth, torch.tensor([0.05, 0.4]), 0.1)[0, 2].item() == pytest.approx(0.5, rel=1e-3)


def test_the_net_learns_drawn_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    plain(monkeypatch)
    torch.set_num_threads(1)
    still = tensors(*closeups.batch(drawn(), np.random.default_rng(9), 64))

    def wrong(net: RefineNet) -> tuple[float, float]:
        with torch.no_grad():
            exact, kind = terms(net.eval()(still[0].float()), *still[1:])
        return exact.item(), kind.item()

    first = wrong(RefineNet(torch.from_numpy(0.5 + (TEMPLATE - 0.5) / np.float32(SPEC.margin))))
    last = wrong(
        train(
            drawn(),
            drawn(),
            Recipe((Round(120, 3e-3, 1.0), Round(20, 1e-3, 0.5)), size=16, warm_up=5, memory=0.9, workers=0),
        )
    )
    assert last[0] < 0.8 * first[0]
    assert last[1] < 0.5 * first[1]


def test_the_file_says_what_the_net_says(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = RefineNet(torch.rand(5, 2))
    net.train()(torch.rand(4, 3, SPEC.size, SPEC.size) * 255)  # normalisation statistics other than 0 and 1
    torch.nn.init.normal_(net.head.weight, std=0.05)
    average = Average(net.state_dict(), 0.9)
    net = averaged(average)
    export(net, tmp_path / "refinement.onnx")
    assert (tmp_path / "refinement.onnx").stat().st_size < 650_000
    run = Refiner((tmp_path / "refinement.onnx").read_bytes(), "new")._session.run
    for count in (1, 3):
        image = np.random.default_rng(count).uniform(0, 255, (count, 3, SPEC.size, SPEC.size)).astype(np.float32)
        with torch.no_grad():
            points, logit = net(torch.from_numpy(image))
        said = run(["points", "face"], {"input": image})
        np.testing.assert_allclose(said[0], points.numpy(), atol=1e-4)
        np.testing.assert_allclose(said[1], logit.sigmoid().numpy(), atol=1e-4)


# --- the table -------------------------------------------------------------------------------------------------------


def test_a_face_counts_as_much_in_a_large_set_as_in_a_small_one() -> None:
    recall, points, one = "recall of the teacher's sure faces", POINTS + "mean", ONE_LOOK
    rows = [Row(s, recall, r, None, n) for s, r, n in (("a", 1.0, 30), ("b", 0.6, 10))]
    rows += [Row(s, w, v, 2 * v, n) for w in (points, one) for s, v, n in (("a", 0.02, 30), ("b", 0.06, 10))]
    found = {row.what: row for row in overall(rows)}
    assert found[recall].student == pytest.approx(0.9)
    assert found[recall].teacher is None
    assert (found[points].student, found[points].teacher) == pytest.approx((0.03, 0.06))
    assert found[one].count == 40


def test_points_are_held_against_the_face_that_was_found() -> None:
    truth = np.array([[0, 0, 100, 100, *(TEMPLATE * 100).ravel(), 0.9]], np.float32)
    found = np.concatenate([truth, truth])
    found[0, :14] += 500  # another face far away
    found[1, 4] += 3.2  # one eye a tenth of the eyes' distance off: a fiftieth of a face's five points
    hit, error = matched(truth, found)
    assert hit.tolist() == [1]
    assert error[0] == pytest.approx(0.02, rel=1e-3)
    assert np.isnan(matched(truth, found[:1])[1]).all()


def test_the_card_says_what_is_missed_and_holds_no_nan() -> None:
    rows = [Row(f"stills, face {px} px at the input", "recall", r, 1.0, 9) for px, r in ((12, 0.75), (40, 1.0))]
    assert limits(rows)[-1] == "of small faces it misses 25% of 12 px at the input"
    assert limits(rows[1:])[-1] == "of small faces it misses less than 1%"
    assert (known(float("nan")), known(None), known(0.5)) == (None, None, 0.5)
