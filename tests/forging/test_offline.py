"""Self-blending, degradation and the pairs that training sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from unmask.base.generator import Unforgeable  # noqa: E402
from unmask.faces import FaceDetector, crop  # noqa: E402
from unmask.generators.sbi import MESH_OVAL, self_blend  # noqa: E402
from unmask.imageops.degradation import degrade, jpeg, levels, noisy, resized  # noqa: E402
from unmask.types import Floats, InputSpec, Pixels  # noqa: E402


@pytest.fixture(scope="module")
def face() -> Pixels:
    """The wide crop of a public-domain portrait."""
    picture = pytest.importorskip("skimage.data").astronaut()
    return crop(
        picture, max(FaceDetector.load().find(picture), key=lambda f: f.side), InputSpec(size=256, margin=1.25)
    ).image


@pytest.fixture(scope="module")
def mesh() -> Floats:
    """468 points around the middle of the crop, with the outline on an ellipse."""
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 156, (468, 2))
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, len(MESH_OVAL), endpoint=False)
    points[list(MESH_OVAL)] = 128 + np.stack([55 * np.cos(angle), 70 * np.sin(angle)], 1)
    return points.astype(np.float32)


def test_a_self_blend_changes_the_face_and_nothing_far_from_it(face: Pixels, mesh: Floats) -> None:
    untouched = 0
    for seed in range(30):
        forged, alpha = self_blend(face, mesh, np.random.default_rng(seed))
        assert forged.shape == face.shape
        assert forged.dtype == np.uint8
        assert alpha.shape == face.shape[:2]
        assert alpha.min() >= 0
        assert 0.2 < alpha.max() <= 1.001
        assert alpha[:16].max() < 0.05  # the top of a wide crop is above any forehead
        changed = (forged.astype(int) - face) != 0
        if not changed[:16].any():  # the source was changed, not the target
            untouched += 1
            assert changed[alpha > 0.2].mean() > 0.3
    assert 5 < untouched < 25  # which of the two copies is changed is a coin toss


def test_a_self_blend_is_its_seed(face: Pixels, mesh: Floats) -> None:
    one, two, other = (self_blend(face, mesh, np.random.default_rng(s))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_a_mesh_outside_the_picture_is_an_error(face: Pixels, mesh: Floats) -> None:
    with pytest.raises(Unforgeable, match="does the mesh belong"):
        self_blend(face, mesh + 2000, np.random.default_rng(0))


def test_degradations_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert noise.std() > 1.5 * resized(noise, 0.4).std()  # fine detail goes
    assert np.abs(jpeg(noise, 95).astype(int) - noise).mean() < np.abs(jpeg(noise, 30).astype(int) - noise).mean()
    flat = np.full((64, 64, 3), 100, np.uint8)
    assert abs(noisy(flat, 5, rng).std() - 5) < 0.5
    assert (levels(flat, contrast=0.5, brightness=10) == 124).all()  # (100 - 128) / 2 + 138
    assert (levels(flat, tint=7)[0, 0] == (107, 100, 93)).all()
    assert degrade(noise, np.random.default_rng(3)).shape == noise.shape


def test_no_group_stands_in_two_splits(shared_data: Path) -> None:
    from training.collection import REAL_ONLY, UNSEEN, usable

    splits: dict[str, set[str]] = {}
    count = 0
    for row in usable(shared_data):
        splits.setdefault(row.group, set()).add(row.split)
        assert not (row.set in UNSEEN and row.split != "test")
        assert not (row.set in REAL_ONLY and row.label)
        count += 1
    assert count > 18_000
    assert all(len(s) == 1 for s in splits.values())
