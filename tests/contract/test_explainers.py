"""What every explainer promises: a new file in `unmask.explainers` is tested without a line here."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.base.explainer import Explainer
from unmask.registry import FAMILIES
from unmask.types import Floats, Pixels, UnmaskError

NAMES = FAMILIES["explainer"].names()
SIDE = 64


def create(name: str) -> Explainer:
    explainer: Explainer = FAMILIES["explainer"].create(name, FAMILIES["explainer"].card(name).small)
    return explainer


def red_of_a_corner(crops: Pixels) -> Floats:
    """The score of a detector that looks at the red of the lower right quarter alone."""
    return crops[:, SIDE // 2 :, SIDE // 2 :, 0].mean(axis=(1, 2)).astype(np.float32) / 25


def crop(seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(130, 256, (SIDE, SIDE, 3)).astype(np.uint8)


BLACK_BOX = [name for name in NAMES if not FAMILIES["explainer"].kind(name).needs_gradients]


@pytest.mark.parametrize("name", BLACK_BOX)
def test_it_points_at_what_the_score_rests_on(name: str) -> None:
    found = create(name)(red_of_a_corner, crop(), towards_fake=True)
    height, width = found.shape
    inside = found[height // 2 :, width // 2 :].sum() / found.sum()
    assert inside > 0.5  # a quarter of the map holds most of it


@pytest.mark.parametrize("name", BLACK_BOX)
def test_hiding_what_it_points_at_moves_the_score_more_than_hiding_other_pixels(name: str) -> None:
    image, rng = crop(1), np.random.default_rng(0)
    found = create(name)(red_of_a_corner, image, towards_fake=True)
    rows, columns = (np.arange(SIDE) * n // SIDE for n in found.shape)
    order = np.argsort(-found[rows][:, columns].ravel(), kind="stable")

    def fall(hidden: np.ndarray) -> float:
        covered = image.reshape(-1, 3).copy()
        covered[hidden] = 127
        return float(red_of_a_corner(image[None])[0] - red_of_a_corner(covered.reshape(1, SIDE, SIDE, 3))[0])

    tenth = SIDE * SIDE // 10
    chance = [fall(rng.choice(SIDE * SIDE, tenth, replace=False)) for _ in range(5)]
    assert fall(order[:tenth]) > max(chance)


@pytest.mark.parametrize("name", BLACK_BOX)
def test_the_same_crop_gives_the_same_map_and_is_not_changed(name: str) -> None:
    image = crop(2)
    kept = image.copy()
    one, two = (create(name)(red_of_a_corner, image) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("name", NAMES)
def test_another_form_of_image_is_refused(name: str) -> None:
    with pytest.raises(UnmaskError, match="uint8"):
        create(name)(red_of_a_corner, crop().astype(np.float32))  # type: ignore[arg-type]
