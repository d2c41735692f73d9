"""Corruption in levels: against the published formulas, by hand, and by what must hold for every kind."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")


from unmask.faces import align  # noqa: E402
from unmask.imageops import reencoding as reencode  # noqa: E402
from unmask.imageops.corruption import KINDS, PRESETS, degraded, moved, preset  # noqa: E402
from unmask.types import Pixels, UnmaskError  # noqa: E402


@pytest.fixture(scope="module")
def scene() -> Pixels:
    """Smooth colours with edges, 300 x 271: an odd side, and a short side of one whole 256."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (12, 11, 3)).astype(np.uint8), (271, 300), interpolation=cv2.INTER_CUBIC)
    image[100:140, 60:200] = (210, 40, 90)
    return np.asarray(image, np.uint8)


def one(image: Pixels, name: str, level: int, seed: int = 0) -> Pixels:
    (out,) = degraded([image], name, level, seed)
    return out


def psnr(a: Pixels, b: Pixels) -> float:
    return float(cv2.PSNR(a, b))


@pytest.mark.parametrize("name", KINDS)
def test_level_zero_is_the_picture_and_every_draw_can_be_had_again(name: str, scene: Pixels) -> None:
    assert one(scene, name, 0) is scene
    frames = [scene, np.roll(scene, 3, 1), np.roll(scene, 6, 1)]
    kept = [f.copy() for f in frames]
    top = len(KINDS[name].steps)
    first, again = list(degraded(frames, name, top, 5)), list(degraded(iter(frames), name, top, 5))
    assert len(first) == 3
    assert all(f.dtype == np.uint8 and f.flags.c_contiguous for f in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all((a == b).all() for a, b in zip(frames, kept, strict=True)), "the caller's frames were written to"
    assert list(degraded([], name, top)) == []


@pytest.mark.parametrize("name", [n for n in KINDS if n != "imaginet_social"])
def test_each_level_is_worse_than_the_one_before(name: str, scene: Pixels) -> None:
    quality = [psnr(scene, one(scene, name, level)) for level in range(1, 6)]
    if name == "pixelate":  # where an edge falls between samples may help one factor by a trifle
        assert quality[0] > quality[2] > quality[4]
    else:
        assert all(a > b for a, b in itertools.pairwise(quality)), quality


def test_saturation_is_the_chroma_form_within_two_levels(scene: Pixels) -> None:
    for level, p in enumerate((0.4, 0.3, 0.2, 0.1, 0.0), 1):
        ycc = cv2.cvtColor(scene.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
        ycc[..., 1:] = 0.5 + (ycc[..., 1:] - 0.5) * p
        published = cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB).clip(0, 1) * 255
        assert np.abs(one(scene, "saturation", level) - published).max() <= 2
    grey = one(scene, "saturation", 5).astype(int)
    assert np.ptp(grey, axis=-1).max() == 0


def test_legacy_contrast_darkens_and_true_contrast_does_not(scene: Pixels) -> None:
    assert np.abs(one(scene, "contrast_dark", 5) - 0.35 * scene.astype(float)).max() < 0.501
    assert abs(one(scene, "contrast_mean", 5).mean() - scene.mean()) < 0.5
    other = np.full_like(scene, 200)  # the pivot is the first frame's: the second must not be pulled to its own mean
    second = list(degraded([np.full_like(scene, 100), other], "contrast_mean", 5))[1]
    assert (second == 135).all()  # 100 + 0.35 x 100


def test_noise_has_the_published_strength_in_every_channel() -> None:
    mid = np.full((400, 400, 3), 126, np.uint8)
    spread = [one(mid, "noise", level).astype(float) for level in range(1, 6)]
    luma = [float((s @ (0.299, 0.587, 0.114)).std()) for s in spread]
    assert luma == pytest.approx([9.4, 13.2, 20.9, 29.6, 55], rel=0.04)
    # sqrt(.001) x 255 x the row's length: R 1.975, G 1.473, B 2.329
    assert spread[0].std(axis=(0, 1)) == pytest.approx([16.0, 11.8, 18.8], rel=0.03)


def test_noise_is_fresh_in_each_frame_and_squares_are_not(scene: Pixels) -> None:
    flat = np.full_like(scene, 100)
    noise = list(degraded([flat, flat], "noise", 3, 1))
    assert (noise[0] != noise[1]).any()
    still = list(degraded([flat, flat], "block", 3, 1))
    assert (still[0] == still[1]).all()
    nervous = list(degraded([flat, flat], "block", 3, 1, flicker=True))
    assert (nervous[0] != nervous[1]).any()


def test_squares_are_counted_in_whole_256s_so_that_small_pictures_stay_as_they_are(scene: Pixels) -> None:
    small = scene[:255]
    assert (one(small, "block", 5) == small).all()
    white = np.full((520, 512, 3), 255, np.uint8)  # 512 // 256 = 2: twice 16 squares of 64 pixels, some on others
    hit = int((one(white, "block", 1)[..., 0] == 128).sum())
    assert 25 * 64 < hit <= 32 * 64


def test_blur_has_a_sixth_of_its_kernel_as_sigma() -> None:
    point = np.zeros((101, 101, 3), np.uint8)
    point[50, 50] = 255
    out = one(point, "blur", 3)[..., 0].astype(float)
    rows = np.flatnonzero(out.sum(1))
    assert len(rows) <= 13
    wide = np.where(np.arange(101)[:, None] < 50, 0, 255).astype(np.uint8).repeat(101, 1)[..., None].repeat(3, 2)
    edge = one(wide, "blur", 3)[:, 50, 0].astype(float)
    slope = np.diff(edge) / 255
    x = np.arange(100) - 49.0
    assert np.sqrt((slope * x**2).sum() - (slope * x).sum() ** 2) == pytest.approx(13 / 6, rel=0.05)


def test_pixelation_is_division_by_whole_numbers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 61, 3)).astype(np.uint8)
    small = cv2.resize(image, (61 // 5, 64 // 5))
    assert (one(image, "pixelate", 4) == cv2.resize(small, (61, 64))).all()


@pytest.mark.parametrize("name", ["h264", "h265"])
def test_a_codec_gives_every_frame_back_in_its_place(name: str, scene: Pixels) -> None:
    frames = [np.roll(scene, 4 * i, 1) for i in range(30)]  # more than the encoder looks ahead
    out = list(degraded(iter(frames), name, 1))
    assert [f.shape for f in out] == [scene.shape] * 30  # 271: cut again to its odd side
    for i in (0, 7, 29):
        assert np.argmax([psnr(out[i], f) for f in frames]) == i
    still = one(scene, name, 5)
    assert 20 < psnr(scene, still) < 45


def test_nothing_is_read_ahead_but_what_the_codec_holds_back(scene: Pixels) -> None:
    taken = 0

    def film() -> object:
        nonlocal taken
        for _ in range(200):
            taken += 1
            yield scene

    next(iter(degraded(film(), "h264", 1)))  # type: ignore[arg-type]
    assert taken < 100


def test_imaginet_chain_moves_a_point_to_where_it_says() -> None:
    dot = np.full((700, 500, 3), 20, np.uint8)
    for seed in range(6):
        where = moved("imaginet_social", 1, seed, 700, 500)
        assert where[0, 0] == where[1, 1] <= 1  # never enlarged
        x, y = np.linalg.inv(where[:, :2]) @ (np.array([130.0, 90.0]) - where[:, 2])
        image = dot.copy()
        cv2.circle(image, (round(x - 0.5), round(y - 0.5)), 10, (250, 250, 250), -1)
        out = one(image, "imaginet_social", 1, seed)
        assert out.shape == (256, 256, 3)
        ys, xs = np.nonzero(out[..., 0] > 130)
        assert (xs.mean() + 0.5, ys.mean() + 0.5) == pytest.approx((130, 90), abs=1)


def test_imaginet_chain_pads_what_is_small_and_codes_three_of_four() -> None:
    image = np.random.default_rng(0).integers(0, 256, (180, 200, 3)).astype(np.uint8)
    padded = np.pad(image, ((38, 38), (28, 28), (0, 0)), mode="reflect")
    outs = [one(image, "imaginet_social", 1, s) for s in range(200)]
    untouched = sum(bool((o == padded).all()) for o in outs)
    assert 30 <= untouched <= 70  # binomial(200, 1/4): 50 +- 3 sigma
    assert (moved("imaginet_social", 1, 0, 180, 200) == [[1, 0, 28], [0, 1, 38]]).all()
    crop = align(image, moved("imaginet_social", 1, 0, 180, 200), 256)[38:218, 28:228]
    assert (crop == image).all()  # the same coordinates as aligned crops have


def test_both_classes_get_one_and_the_same_distribution() -> None:
    """A pair shares its seed, so it shares the draw: nothing in the corruption tells the classes apart."""
    real, fake = (np.full((600, 600, 3), v, np.uint8) for v in (60, 90))
    for seed in range(5):
        hit = [one(x, "block", 2, seed)[..., 0] == 128 for x in (real, fake)]
        assert (hit[0] == hit[1]).all()
    # every formula takes frames, a name, a level and a seed: a label cannot enter
    assert list(inspect.signature(degraded).parameters) == ["frames", "name", "level", "seed", "flicker", "rate"]


def test_presets_name_kinds_that_are_there_and_a_wrong_name_says_so(scene: Pixels) -> None:
    assert all(kind in KINDS for kinds in PRESETS.values() for kind in kinds)
    assert [KINDS[k].steps for k in preset("deeperforensics-v1")] == [
        (0.4, 0.3, 0.2, 0.1, 0),
        (0.85, 0.725, 0.6, 0.475, 0.35),
        (16, 32, 48, 64, 80),
        (0.001, 0.002, 0.005, 0.01, 0.05),
        (7, 9, 13, 17, 21),
        (2, 3, 4, 5, 6),
        (30, 32, 35, 38, 40),
    ]
    with pytest.raises(UnmaskError, match="no preset 'deeper'"):
        preset("deeper")
    with pytest.raises(UnmaskError, match="no kind of corruption 'fog'"):
        one(scene, "fog", 1)
    with pytest.raises(UnmaskError, match="imaginet_social has levels 0 to 1, not 2"):
        one(scene, "imaginet_social", 2)
    assert "libavcodec" in reencode.version()
