"""Blending, colours and warps of forging, by hand-made values."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unmask.data.landmarks import LEFT_EYE, RIGHT_EYE, Landmarks, filled, from_five
from unmask.imageops.blending import bend, blend, poisson, soften
from unmask.imageops.colour import transferred
from unmask.imageops.warping import carried, moved, piecewise, similarity
from unmask.types import Pixels, UnmaskError


def smooth(seed: int, side: int = 64) -> Pixels:
    """An image without hard edges."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_the_blend_is_a_weighted_mean() -> None:
    target, source = np.full((1, 3, 3), 100, np.uint8), np.full((1, 3, 3), 200, np.uint8)
    alpha = np.array([[0, 0.25, 1]], np.float32)
    # 100 + 0 * 100, 100 + 0.25 * 100, 100 + 1 * 100
    assert blend(target, source, alpha)[0, :, 0].tolist() == [100, 125, 200]


@pytest.mark.parametrize("shape", [(20, 17), (21, 17), (20, 18), (21, 18)])
def test_poisson_keeps_the_source_in_place_and_takes_the_targets_level(shape: tuple[int, int]) -> None:
    """A source that differs by a constant has the target's gradients: solving gives the target back."""
    target = (smooth(0) // 2 + 40).astype(np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[11 : 11 + shape[0], 15 : 15 + shape[1]] = 1
    found = poisson(target, target + np.uint8(30), mask)
    assert np.abs(found.astype(int) - target).max() <= 2
    other = poisson(target, smooth(1), mask)
    np.testing.assert_array_equal(other[mask == 0], target[mask == 0])
    assert (other[mask > 0] != target[mask > 0]).mean() > 0.5
    np.testing.assert_array_equal(poisson(target, smooth(1), mask * 0), target)


def test_colours_are_given_with_mean_and_deviation() -> None:
    """Equations 10 and 11 of Reinhard et al.: afterwards the moments are the target's, up to rounding to bytes."""
    source, target = smooth(2) // 3 + np.uint8(80), smooth(3) // 4 + np.uint8(60)
    weight = filled(np.array([(10, 10), (50, 12), (30, 55)], np.float32), 64)
    inside = weight > 0
    lab = [
        cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[inside]
        for p in (transferred(source, target, weight), target, source)
    ]
    given, wanted, before = ((p.mean(0), p.std(0)) for p in lab)
    np.testing.assert_allclose(given[0], wanted[0], atol=0.5)
    np.testing.assert_allclose(given[1], wanted[1], atol=0.5)
    assert np.abs(before[0] - wanted[0]).max() > 2


def test_triangles_carry_what_stands_in_them() -> None:
    """An affine change of the points is an affine change of the image, whatever the triangles."""
    image = smooth(4)
    have = np.array([(5, 5), (58, 6), (57, 59), (6, 58), (30, 33)], np.float32)
    matrix = np.array([[0.9, 0.1, 2], [-0.1, 0.9, 6]], np.float32)
    want = have @ matrix[:, :2].T + matrix[:, 2]
    warped, inside = piecewise(image, have, want, 64)
    plain = moved(image, matrix, 64)
    core = cv2.erode(inside, np.ones((3, 3), np.uint8)) > 0
    assert core.mean() > 0.4
    assert np.abs(warped[core].astype(int) - plain[core]).max() <= 3
    assert (warped[inside == 0] == 0).all()
    same, _ = piecewise(image, have, have, 64)
    assert np.abs(same[core].astype(int) - image[core]).max() <= 1
    np.testing.assert_allclose(carried(have[4:], have, want), want[4:], atol=1e-3)
    away = np.array([(-40, -40)], np.float32)
    np.testing.assert_array_equal(carried(away, have, want), away)
    with pytest.raises(UnmaskError, match="no area"):
        piecewise(image, have, np.repeat(have[:1], 5, 0), 64)


def test_a_similarity_is_found_again() -> None:
    points = np.random.default_rng(0).uniform(0, 50, (9, 2)).astype(np.float32)
    turn = np.array([[1.2, -0.4, 7], [0.4, 1.2, -3]], np.float32)
    np.testing.assert_allclose(similarity(points, points @ turn[:, :2].T + turn[:, 2]), turn, atol=1e-3)


def test_a_bent_picture_moves_no_further_than_its_reach() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    for seed in range(5):
        bent = bend(ramp, np.random.default_rng(seed), 3, 8)
        assert np.abs(bent - ramp).max() < 3 * 1.6  # the cubic between grid points overshoots a little
        assert np.abs(bent - ramp).max() > 0.5


def test_a_softened_mask_is_a_mask() -> None:
    mask = filled(np.array([(20, 20), (44, 20), (44, 44), (20, 44)], np.float32), 64)
    for seed in range(20):
        soft = soften(mask, np.random.default_rng(seed))
        assert soft.min() >= 0
        assert 0.5 < soft.max() <= 1.001
        assert 0.3 < soft.sum() / mask.sum() < 2.5


def test_the_standard_face_meets_its_five_points() -> None:
    five = np.array([(50, 60), (90, 58), (72, 85), (55, 103), (88, 101)], np.float32)
    found = from_five(five)
    assert found.points.shape == (81, 2)
    assert np.abs(found.five - five).max() < 0.12 * found.eyes
    assert found.at(RIGHT_EYE)[:, 0].max() < found.at(LEFT_EYE)[:, 0].min()  # the person's right is left in the image
    c, s = 2 * np.cos(0.4), 2 * np.sin(0.4)
    turn = np.array([(c, -s), (s, c)])
    np.testing.assert_allclose(from_five((five @ turn.T).astype(np.float32)).points, found.points @ turn.T, atol=0.02)
    with pytest.raises(UnmaskError, match="do not look like a face"):
        from_five(np.full((5, 2), 3, np.float32))
    outline = found.outline
    assert all(cv2.pointPolygonTest(outline, tuple(map(float, p)), measureDist=False) > 0 for p in found.points[17:68])
    inner = Landmarks(found.points[:68]).outline  # without a forehead it is guessed
    assert abs(inner[:, 1].min() - outline[:, 1].min()) < 0.5 * found.eyes


def test_landmarks_are_checked() -> None:
    for wrong in (np.zeros((5, 2), np.float32), np.full((68, 2), np.nan, np.float32), np.zeros((68, 3), np.float32)):
        with pytest.raises(UnmaskError, match="68 or more finite points"):
            Landmarks(wrong)
