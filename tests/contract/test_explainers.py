"""What every explainer promises: a new file in `unmask.explainers` is tested without a line here."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from unmask.base.detector import Detector, Output  # noqa: E402
from unmask.base.explainer import Explainer, Score  # noqa: E402
from unmask.base.predict import Differentiable  # noqa: E402
from unmask.registry import FAMILIES  # noqa: E402
from unmask.types import Floats, InputSpec, Pixels, UnmaskError  # noqa: E402

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


class Corner(nn.Module):
    """Feature maps (B, 3, 8, 8), of which all but the red of the lower right quarter is nothing."""

    def forward(self, image: Tensor) -> Tensor:
        maps = F.avg_pool2d(image, SIDE // 8)
        shown = torch.zeros_like(maps)
        shown[:, 0, 4:, 4:] = maps[:, 0, 4:, 4:]
        return shown


class CornerDetector(Detector):
    """`red_of_a_corner` with feature maps and a class token that attends to them, for explainers that look inside."""

    def __init__(self) -> None:
        super().__init__()
        self.input = InputSpec(size=SIDE)
        self.corner, self.scale = Corner(), nn.Parameter(torch.tensor(10.0))

    def forward(self, image: Tensor) -> Output:
        red = self.corner(image)[:, 0].flatten(1)
        tokens = torch.cat([torch.zeros_like(red[:, :1]), red], 1)[:, None, :, None]  # (B, 1, 65, 1)
        read = F.scaled_dot_product_attention(torch.ones_like(tokens), self.scale * tokens, tokens)[:, 0, :1, 0]
        return Output(torch.cat([-read, read], 1) * self.scale, read)


def model(name: str) -> Score:
    """What an explainer of this name is tested on: a score, or the detector itself."""
    return Differentiable(CornerDetector()) if FAMILIES["explainer"].kind(name).needs_gradients else red_of_a_corner


BLACK_BOX = [name for name in NAMES if not FAMILIES["explainer"].kind(name).needs_gradients]
INSIDE = [name for name in NAMES if name not in BLACK_BOX]


@pytest.mark.parametrize("name", NAMES)
def test_it_points_at_what_the_score_rests_on(name: str) -> None:
    found = create(name)(model(name), crop(), towards_fake=True)
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


@pytest.mark.parametrize("name", NAMES)
def test_the_same_crop_gives_the_same_map_and_is_not_changed(name: str) -> None:
    image = crop(2)
    kept = image.copy()
    one, two = (create(name)(model(name), image) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("name", NAMES)
def test_another_form_of_image_is_refused(name: str) -> None:
    with pytest.raises(UnmaskError, match="uint8"):
        create(name)(red_of_a_corner, crop().astype(np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", INSIDE)
def test_a_score_alone_is_refused_where_the_network_is_needed(name: str) -> None:
    with pytest.raises(UnmaskError, match="needs gradients"):
        create(name)(red_of_a_corner, crop())
