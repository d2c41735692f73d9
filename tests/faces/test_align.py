"""Crops: exact where they must be, and the same face whatever the image was turned, shifted or scaled by."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unmask.faces.align import TEMPLATES, align, crop, matrix
from unmask.tiling import whole
from unmask.types import Face, Floats, InputSpec, Pixels, UnmaskError

SPEC = InputSpec(size=96, margin=1.3)
POINTS = np.array([(270, 240), (350, 236), (312, 285), (282, 330), (346, 327)], np.float32)


def smooth(height: int = 480, width: int = 640) -> Pixels:
    """Waves of 80 pixels and more, so that resampling has nothing to alias."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    channels = [np.sin(x / 19 + y / 17), np.sin(x / 23 - y / 16), np.cos(x / 18) * np.cos(y / 15)]
    return np.stack([np.round(127.5 + 100 * c) for c in channels], axis=-1).astype(np.uint8)


def moved(points: Floats, m: Floats) -> Floats:
    return (points @ m[:, :2].T + m[:, 2]).astype(np.float32)


def difference(a: Pixels, b: Pixels, border: int = 0) -> float:
    inner = slice(border, len(a) - border)
    return float(np.abs(a[inner, inner].astype(int) - b[inner, inner].astype(int)).mean())


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_points_that_are_a_moved_template_land_on_it(template: str) -> None:
    spec = InputSpec(size=200, margin=1.6, template=template)
    a = 70 * np.exp(0.4j)
    z = TEMPLATES[template] @ np.array([1, 1j])
    points = np.stack([(a * z + 300 + 50j).real, (a * z + 300 + 50j).imag], axis=1).astype(np.float32)
    expected = 200 * (0.5 + (TEMPLATES[template] - 0.5) / 1.6)
    np.testing.assert_allclose(moved(points, matrix(points, spec)), expected, atol=1e-3)


def test_matrix_by_hand() -> None:
    # Template at size 100, margin 1: eyes (34, 46) (66, 46), nose (50, 64), mouth (37, 82) (63, 82). The frame holds it
    # at half the size, shifted by (10, 20): so crop = 2 * (frame - (10, 20)).
    points = TEMPLATES["gend5"] * 50 + np.array([10, 20], np.float32)
    m = matrix(points, InputSpec(size=100, margin=1.0))
    np.testing.assert_allclose(m, [[2, 0, -20], [0, 2, -40]], atol=1e-4)


def test_matrix_is_the_least_squares_optimum() -> None:
    rng = np.random.default_rng(0)
    points = (POINTS + rng.normal(0, 6, POINTS.shape)).astype(np.float32)
    target = 96 * (0.5 + (TEMPLATES["gend5"] - 0.5) / 1.3)
    # (x, y) -> (a x - b y + c, b x + a y + d), solved as ten linear equations in a, b, c, d
    rows = [r for x, y in points for r in ((x, -y, 1, 0), (y, x, 0, 1))]
    a, b, c, d = np.linalg.lstsq(np.array(rows, np.float64), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(matrix(points, SPEC), [[a, -b, c], [b, a, d]], rtol=1e-4, atol=1e-3)


def test_margin_widens_the_crop() -> None:
    narrow, wide = (matrix(POINTS, InputSpec(size=96, margin=m)) for m in (1.0, 2.0))
    np.testing.assert_allclose(narrow[:, :2], 2 * wide[:, :2], rtol=1e-5)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        POINTS[:4],
        POINTS * np.inf,
        np.stack([np.full(5, 7.0), np.full(5, 9.0)], axis=1),
    ],
)
def test_points_that_are_no_face(points: Floats) -> None:
    with pytest.raises(UnmaskError, match="face"):
        matrix(points.astype(np.float32), SPEC)


def test_unknown_template_and_whole_spec_are_refused() -> None:
    with pytest.raises(UnmaskError, match="arcface5, gend5"):
        matrix(POINTS, InputSpec(template="dlib68"))
    with pytest.raises(UnmaskError, match="whole"):
        matrix(POINTS, InputSpec(margin=0))


def test_identity_returns_the_same_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(image, np.eye(2, 3, dtype=np.float32), 64), image)


def test_whole_pixel_shift_is_a_slice() -> None:
    image = np.random.default_rng(2).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    shift = np.array([[1, 0, -13], [0, 1, -7]], np.float32)
    np.testing.assert_array_equal(align(image, shift, 60), image[7:67, 13:73])


def test_quarter_turn_moves_whole_pixels() -> None:
    image = np.random.default_rng(3).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    turn = np.array([[0, 1, 0], [-1, 0, 50]], np.float32)  # (x, y) -> (y, 50 - x)
    np.testing.assert_array_equal(align(image, turn, 50), np.rot90(image))


def test_halving_equals_the_mean_of_four_on_smooth_pictures() -> None:
    image = smooth(200, 200)
    mean = image.reshape(100, 2, 100, 2, 3).mean(axis=(1, 3))
    half = align(image, np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32), 100)
    assert np.abs(half - mean).mean() < 0.6  # a shift by half a pixel would give 2 and more


@pytest.mark.parametrize("scale", [0.4, 0.75, 1.0, 1.5, 3.3])
def test_the_crop_does_not_depend_on_the_picture_s_resolution(scale: float) -> None:
    image = smooth()
    size = (round(640 * scale), round(480 * scale))
    other = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    points = POINTS * np.array([size[0] / 640, size[1] / 480], np.float32)
    assert difference(_crop(image, POINTS), _crop(other, points)) < 1.5


@pytest.mark.parametrize("degrees", [-35, 10, 90, 180])
def test_the_crop_does_not_depend_on_the_picture_s_rotation(degrees: float) -> None:
    image = smooth()
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    middle = np.array([320, 280])
    turn = np.array([[c, -s], [s, c]])
    m = np.column_stack([turn, np.array([450, 450]) - turn @ middle]).astype(np.float32)
    assert difference(_crop(image, POINTS), _crop(align(image, m, 900), moved(POINTS, m)), border=2) < 1.5


def test_the_crop_does_not_depend_on_translation() -> None:
    image = smooth()
    other = np.zeros_like(image)
    other[:-31, :-57] = image[31:, 57:]
    shift = np.array([57, 31], np.float32)
    assert difference(_crop(image, POINTS), _crop(other, POINTS - shift)) < 0.2


def test_a_fine_pattern_averages_out() -> None:
    """Anti-aliasing: single-pixel checks of 0 and 255, eight frame pixels to one of the crop, are grey."""
    y, x = np.mgrid[0:800, 0:800]
    checks = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    grey = align(checks, np.array([[0.12, 0.02, 0], [-0.02, 0.12, 3]], np.float32), 80)
    assert np.abs(grey.astype(int) - 127).max() <= 6


@pytest.mark.parametrize("shrink", [1.0, 3.0, 4.5, 6.6, 7.9, 11.2])
def test_the_quick_crop_shows_the_same_place(shrink: float) -> None:
    """It reads fewer rows of large faces, and none from elsewhere: half a pixel of the crop would give 0.9 to 2.4."""
    small = smooth(160, 200)
    large = np.asarray(Image.fromarray(small).resize((1600, 1280), Image.Resampling.BICUBIC))
    m = np.array([[1, 0.2, -200 / shrink], [-0.2, 1, -90 / shrink]], np.float32) / np.float32([[shrink], [shrink]])
    size = int(900 / shrink)
    assert difference(align(large, m, size, fine=False), align(large, m, size), border=2) < 0.6


def test_outside_repeats_the_edge() -> None:
    image = smooth(100, 100)
    out = align(image, np.array([[1, 0, 20], [0, 1, 20]], np.float32), 140)
    np.testing.assert_array_equal(out[20:120, 20:120], image)
    np.testing.assert_array_equal(out[:20, 20:120], np.repeat(image[:1], 20, axis=0))
    np.testing.assert_array_equal(out[120:, 120:], np.broadcast_to(image[-1, -1], (20, 20, 3)))


def test_far_outside_is_the_nearest_corner_and_costs_nothing() -> None:
    image = smooth(100, 100)
    out = align(image, np.array([[1, 0, -1e7], [0, 1, -1e7]], np.float32), 64)
    np.testing.assert_array_equal(out, np.broadcast_to(image[-1, -1], (64, 64, 3)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_odd_pictures(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    assert (_crop(image, POINTS) == 77).all()
    pixels, _ = whole(image, InputSpec(size=32, margin=0))
    assert pixels.shape == (32, 32, 3)
    assert (pixels == 77).all()


def test_whole_takes_the_middle_and_says_where() -> None:
    image = smooth(300, 501)
    pixels, m = whole(image, InputSpec(size=150, margin=0))
    np.testing.assert_allclose(m, [[0.5, 0, -50.25], [0, 0.5, 0]], atol=1e-5)
    assert difference(pixels, align(image, m, 150), border=3) < 1.0


def test_crop_carries_its_matrix_and_leaves_the_frame_alone() -> None:
    image = smooth()
    before = image.copy()
    face = Face(3, 0.1, (250, 200, 380, 360), POINTS, 0.9)
    result = crop(image, face, SPEC)
    np.testing.assert_array_equal(result.image, align(image, matrix(POINTS, SPEC), 96))
    np.testing.assert_array_equal(image, before)
    assert result.face is face
    assert result.image.shape == (96, 96, 3)
    assert result.image.dtype == np.uint8


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(image: Pixels) -> None:
    with pytest.raises(UnmaskError, match="uint8"):
        align(image, np.eye(2, 3, dtype=np.float32), 16)
    with pytest.raises(UnmaskError, match="uint8"):
        whole(image, InputSpec(margin=0))


def test_a_flat_matrix_is_refused() -> None:
    with pytest.raises(UnmaskError, match="flattens"):
        align(smooth(), np.zeros((2, 3), np.float32), 32)


def _crop(image: Pixels, points: Floats) -> Pixels:
    return crop(image, Face(0, 0.0, (0, 0, 1, 1), points, 1.0), SPEC).image
