"""Random changes of crops: the same generator is the same change, points stay on what they mark, ranges are kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

import cv2  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from torchvision.transforms.v2 import functional as tv  # noqa: E402

from unmask.data.transforms import MIRRORED, PRESETS, STEPS, build  # noqa: E402
from unmask.imageops.corruption import degraded  # noqa: E402
from unmask.types import Pixels, UnmaskError  # noqa: E402


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def soft(seed: int = 0, height: int = 96, width: int = 96) -> Pixels:
    """Smooth colours, as faces have, without black or white."""
    small = rng(seed).integers(40, 215, (6, 6, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_function_of_the_picture_and_the_generator(name: str) -> None:
    image, transform = soft(), build(name)
    before = image.copy()
    outs = [transform(image, rng(s)) for s in range(20)]
    assert all(o.shape == image.shape and o.dtype == np.uint8 and o.flags.c_contiguous for o in outs)
    assert all((transform(image, rng(s)) == o).all() for s, o in enumerate(outs))
    assert all((pickle.loads(pickle.dumps(transform))(image, rng(s)) == o).all() for s, o in enumerate(outs[:3]))
    assert (image == before).all()
    distinct = len({o.tobytes() for o in outs})
    assert distinct == 1 if name == "none" else distinct >= 12  # a grey, unjittered view has few forms


@pytest.mark.parametrize("name", PRESETS)
def test_torchs_own_generator_is_neither_read_nor_moved(name: str) -> None:
    torch.manual_seed(1)
    state, image = torch.get_rng_state(), soft()
    one = build(name)(image, rng(3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert (build(name)(image, rng(3)) == one).all()


@pytest.mark.parametrize("name", PRESETS)
def test_both_halves_of_a_pair_take_the_same_draws_whatever_they_show(name: str) -> None:
    """After an image the generator stands where it stands after any other: the next step's draw is the same too."""
    for seed in range(10):
        one, two = rng(seed), rng(seed)
        build(name)(soft(1), one)
        build(name)(soft(2), two)
        assert one.random() == two.random()


def dots(points: np.ndarray, height: int, width: int) -> Pixels:
    """A bright soft dot around each point, on black; the colour says which."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3), np.uint8)
    for n, (px, py) in enumerate(points):
        image[..., n] = 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18)
    return image


@pytest.mark.parametrize("edge", ["black", "repeat", "reflect"])
@pytest.mark.parametrize("shape", [(96, 96), (80, 112)])
def test_points_move_with_the_picture(edge: str, shape: tuple[int, int]) -> None:
    height, width = shape
    points = np.array([(40.0, 35.0), (70.0, 38.0), (52.0, 60.0)], np.float32)
    transform = build([{"flip": {}}, {"affine": {"degrees": 30, "translate": 0.1, "edge": edge}}, {"jpeg": {}}])
    y, x = np.mgrid[:height, :width] + 0.5
    for seed in range(12):
        image, moved = transform.with_points(dots(points, height, width), points, rng(seed))
        assert moved is not None
        assert moved.dtype == np.float32
        for n in range(3):
            weight = np.where(image[..., n] > 60, image[..., n], 0).astype(float)
            found = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
            np.testing.assert_allclose(found, moved[n], atol=0.6)
    without, none = transform.with_points(dots(points, height, width), None, rng(3))
    assert none is None
    assert (without == transform(dots(points, height, width), rng(3))).all()


def test_a_mirrored_face_has_its_left_eye_on_the_left_again() -> None:
    five = np.array([(30, 40), (60, 41), (45, 55), (33, 70), (58, 71)], np.float32)
    image, moved = build([{"flip": {"p": 1}}]).with_points(soft(width=90), five, rng())
    assert moved is not None
    np.testing.assert_array_equal(moved, (five * (-1, 1) + (90, 0))[MIRRORED])
    assert moved[0, 0] < moved[1, 0]
    np.testing.assert_array_equal(image, soft(width=90)[:, ::-1])


def test_the_edge_is_black_or_what_was_there() -> None:
    bright = np.full((60, 60, 3), 200, np.uint8)
    black = 0
    for seed in range(20):
        edges: dict[str, Pixels] = {}
        for edge in ("black", "repeat", "reflect"):
            step = {"affine": {"degrees": 180, "translate": 0.2, "scale": (0.7, 1.5), "edge": edge}}
            edges[edge] = build([step])(bright, rng(seed))
        black += (edges["black"] == 0).any()
        assert (edges["repeat"] == 200).all()
        assert (edges["reflect"] == 200).all()
    assert black > 10


@pytest.mark.parametrize(
    ("step", "oracle"),
    [
        (
            {"jitter": {"brightness": 0.5, "contrast": 0}},
            lambda x, r: tv.adjust_brightness(x, 1 + r.uniform(-0.5, 0.5)),
        ),
        ({"blur": {"kernels": [[7, 7]], "sigma": [1.5, 1.5]}}, lambda x, r: tv.gaussian_blur(x, [7, 7], [1.5, 1.5])),
        ({"blur": {"kernels": [[3, 7]], "sigma": [2, 2]}}, lambda x, r: tv.gaussian_blur(x, [3, 7], [2.0, 2.0])),
    ],
)
def test_blur_and_light_are_torchvisions(step: dict[str, Any], oracle: Callable[..., Any]) -> None:
    image, draws = soft(), rng(4)
    draws.random()  # whether at all
    if "blur" in step:
        draws.integers(1)
    want = oracle(torch.from_numpy(image.transpose(2, 0, 1).copy()), draws)
    np.testing.assert_array_equal(build([step])(image, rng(4)), want.permute(1, 2, 0).numpy())


def test_jpeg_really_encodes_at_every_quality_of_its_range() -> None:
    image = rng().integers(0, 256, (64, 64, 3), np.uint8)
    errors = {}
    for quality in (10, 50, 95):
        changed = build([{"jpeg": {"quality": [quality, quality]}}])(image, rng())
        _, data = cv2.imencode(".jpg", image[..., ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, quality])
        np.testing.assert_array_equal(changed, cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
        errors[quality] = np.abs(changed.astype(int) - image).mean()
    assert errors[10] > errors[50] > errors[95] > 0
    drawn = {build([{"jpeg": {"quality": [40, 42]}}])(image, rng(s)).tobytes() for s in range(40)}
    assert len(drawn) == 3  # both ends are drawn


@pytest.mark.parametrize("kind", ["noise", "social", "h264"])
def test_damage_is_that_of_the_stress_test(kind: str) -> None:
    image, draws = soft(), rng(4)
    changed = build([{"corruption": {"kind": kind, "level": 4}}])(image, rng(4))
    draws.random()  # whether at all
    np.testing.assert_array_equal(changed, next(degraded([image], kind, 4, int(draws.integers(2**31)))))
    assert (changed != image).any()
    np.testing.assert_array_equal(build([{"corruption": {"kind": kind, "level": 0}}])(image, rng()), image)


def test_a_step_happens_as_often_as_its_probability_says() -> None:
    image = soft()
    changed = sum((build([{"flip": {"p": 0.3}}])(image, rng(s)) != image).any() for s in range(600))
    assert 0.24 < changed / 600 < 0.36
    for step in ("linear", "pca", "hsv", "jitter", "blur", "jpeg", "affine"):
        strong = {"sigma": 5} if step == "pca" else {}
        assert (build([{step: strong | {"p": 0}}])(image, rng()) == image).all()
        assert (build([{step: strong}])(image, rng()) != image).any()


def test_colour_steps_stay_within_what_they_say() -> None:
    image = soft()
    for seed in range(20):
        linear = build([{"linear": {"gain": 0, "offset": 0.1}}])(image, rng(seed)).astype(int) - image
        assert abs(linear).max() <= 26
        assert linear.std() < 1e-9
        grey = np.repeat(image[..., :1], 3, 2)
        turned = build([{"hsv": {"saturation": 0, "value": 0}}])(grey, rng(seed))
        np.testing.assert_array_equal(turned, grey)  # grey has no hue
        moved = build([{"hsv": {"hue": 0, "saturation": 0, "value": 20}}])(grey, rng(seed)).astype(int) - grey
        assert abs(moved).max() <= 20
        axis = build([{"pca": {"sigma": 3}}])(grey, rng(seed)).astype(float) - grey
        assert axis.std(-1).max() < 1e-9  # the only axis of grey is grey
    red = np.zeros((8, 8, 3), np.uint8) + np.array([200, 40, 40], np.uint8)
    hues = {build([{"hsv": {"saturation": 0, "value": 0}}])(red, rng(s))[0, 0].argmin() for s in range(40)}
    assert hues == {1, 2}  # towards yellow and towards magenta: hue is a circle


def test_grey_and_solarise_are_pillows() -> None:
    image = soft()
    colour = Image.fromarray(image)
    grey = build([{"grey": {}}])(image, rng())
    assert np.abs(grey[..., 0].astype(int) - np.asarray(colour.convert("L"))).max() <= 1  # rounded otherwise
    assert (grey == grey[..., :1]).all()
    np.testing.assert_array_equal(build([{"solarise": {}}])(image, rng()), np.asarray(ImageOps.solarize(colour, 128)))


def test_one_of_takes_one() -> None:
    image = soft()
    either = build([{"one_of": {"steps": [{"flip": {"p": 1}}, {"linear": {"gain": 0, "offset": 0}}]}}])
    outs = [either(image, rng(s)) for s in range(200)]
    flipped = sum((o == image[:, ::-1]).all() for o in outs)
    assert 70 < flipped < 130
    assert flipped + sum((o == image).all() for o in outs) == 200


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("gen", "did you mean 'gend'"),
        ([{"jpg": {}}], "did you mean 'jpeg'"),
        ([{"jpeg": {"qualities": [1, 2]}}], "jpeg: qualities: Extra"),
        ([{"jpeg": {"quality": [0, 50]}}], "jpeg: quality.0"),
        ([{"jpeg": {"quality": [90, 50]}}], "lower end comes first"),
        ([{"affine": {"edge": "white"}}], "affine: edge"),
        ([{"affine": {"scale": [0, 1]}}], "affine: scale.0"),
        ([{"flip": {"p": 1.5}}], "flip: p"),
        ([{"blur": {"kernels": [[4, 4]]}}], "sides of kernels are odd"),
        ([{"one_of": {"steps": [{"blurr": {}}]}}], "did you mean 'blur'"),
        ([{"one_of": {"steps": []}}], "one_of: steps"),
        ([{"one_of": {"steps": [{"flip": {"p": 0}}]}}], "one_of: steps"),
        (["flip"], "one name and its options"),
        (
            [{"corruption": {"kind": "jpg"}}],
            "no kind of corruption 'jpg' that leaves an image in its place",
        ),
        ([{"corruption": {"kind": "imaginet_social"}}], "corruption: kind"),
        ([{"corruption": {"kind": "webp", "level": 6}}], "webp has levels 0 to 5, not 6"),
        ([{"flip": {}, "jpeg": {}}], "one name and its options"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(recipe: Any, why: str) -> None:
    with pytest.raises(UnmaskError, match=why) as caught:
        build(recipe)
    assert "\n" not in str(caught.value)


def test_every_step_is_documented_and_takes_no_options_at_all_or_says_which() -> None:
    for name, step in STEPS.items():
        assert step.__doc__, name
        if name != "one_of":
            assert len(build([{name: None}]).steps) == 1
