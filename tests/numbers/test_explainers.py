"""Explanations by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

import unmask  # noqa: E402
from unmask.base.predict import Differentiable  # noqa: E402
from unmask.explainers.attention_rollout import attention_rollout  # noqa: E402
from unmask.explainers.counterfactual import Linear, counterfactual, principal_components, save  # noqa: E402
from unmask.explainers.grad_cam import as_maps, grad_cam  # noqa: E402
from unmask.explainers.integrated_gradients import integrated_gradients  # noqa: E402
from unmask.explainers.rise import random_masks, weighted  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402


def test_grad_cam_of_two_maps() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    slopes = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[-4.0, 0.0], [0.0, -4.0]]]])
    # a_1 = 2/4 = 0.5, a_2 = -8/4 = -2: 0.5 [1 2; 3 4] - 2 [1 0; 0 1] = [-1.5 1; 1.5 0]
    torch.testing.assert_close(grad_cam(maps, slopes), torch.tensor([[[0.0, 1.0], [1.5, 0.0]]]))


def test_tokens_after_a_class_token_and_registers_are_maps() -> None:
    tokens = torch.arange(1 + 4 + 9).float().view(1, -1, 1)  # a class token, 4 registers, 3 x 3 patches
    torch.testing.assert_close(as_maps(tokens), torch.arange(5, 14).float().view(1, 1, 3, 3))


def test_integrated_gradients_of_a_product() -> None:
    def product(x: Tensor) -> Tensor:
        return x[:, 0, 0, 0] * x[:, 1, 0, 0]

    image = torch.tensor([2.0, 3.0, 5.0]).view(1, 3, 1, 1)
    # On the way a (2, 3) the gradient is a (3, 2): 2 times 3/2 = 3 and 3 times 2/2 = 3; together 2 x 3 = 6.
    found = integrated_gradients(product, image, torch.zeros_like(image), 4)
    torch.testing.assert_close(found.flatten(), torch.tensor([3.0, 3.0, 0.0]))


def test_rollout_of_two_layers() -> None:
    one, two = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    # (one + I)/2 = [1 0; .5 .5], (two + I)/2 = [.5 .5; 0 1]; product [.5 .5; 0 1] [1 0; .5 .5] = [.75 .25; .5 .5]
    torch.testing.assert_close(attention_rollout([one, two]), torch.tensor([[0.75, 0.25], [0.5, 0.5]]))


def test_masks_show_their_share_and_weigh_as_written() -> None:
    masks = random_masks(2000, 20, 4, 0.3, np.random.default_rng(0))
    assert masks.shape == (2000, 20, 20)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert abs(float(masks.mean()) - 0.3) < 0.01
    # pixel 0 is shown by masks 0 and 1: (4 + 2) / 2 = 3; pixel 1 by half of mask 1 and mask 2: (0.5 2 + 3) / 1.5 = 8/3;
    # the mean score is 3
    found = weighted(np.array([[[1, 0]], [[1, 0.5]], [[0, 1]]], np.float32), np.array([4, 2, 3], np.float32))
    np.testing.assert_allclose(found, [[0, 8 / 3 - 3]], atol=1e-6)


def test_a_counterfactual_moves_by_signs_until_the_score_turns() -> None:
    def decode(w: Tensor) -> Tensor:
        return w.view(1, 3, 1, 1)

    def score(image: Tensor) -> Tensor:
        return 3 * image[:, 0, 0, 0] - image[:, 1, 0, 0] - 0.5

    # (0.5, 0.5): 1.5 - 0.5 - 0.5 = 0.5; each step moves (-0.1, +0.1), the score falls by 0.4: 0.5, 0.1, -0.3 < -0.2
    found = counterfactual(score, decode, torch.full((1, 3), 0.5), 0.1, 10, 0.2)
    assert (found.steps, found.flipped) == (2, True)
    torch.testing.assert_close(found.image.flatten(), torch.tensor([0.3, 0.7, 0.5]))  # what it ignores stays
    assert not counterfactual(score, decode, torch.full((1, 3), 0.5), 0.1, 1, 0.2).flipped


@pytest.mark.parametrize("towards_fake", [True, False])
def test_a_counterfactual_leads_away_from_the_verdict_that_is_explained(towards_fake: bool) -> None:
    """The published script for one data set moves faces towards fake instead."""
    torch.manual_seed(0)
    model = Differentiable(unmask.create("meso4"))
    image = np.random.default_rng(0).integers(60, 200, (256, 256, 3)).astype(np.uint8)
    explainer = unmask.create("explainer", "counterfactual", {"steps": 3, "grid": 8, "step": 0.02})
    sign = 1 if towards_fake else -1
    x = model.leaf(image).detach()
    found = counterfactual(lambda i: sign * model.log_odds(i), *explainer.place(x), 0.02, 3, 1e9)
    with torch.inference_mode():
        assert sign * float(model.log_odds(found.image)) < sign * float(model.log_odds(x))


def test_principal_components_are_a_manifold_that_keeps_the_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    fitted = principal_components(crops, 3)
    torch.testing.assert_close(fitted.components @ fitted.components.T, torch.eye(3))
    save(fitted, tmp_path / "faces.safetensors")
    explainer = unmask.create("explainer", "counterfactual", {"manifold": str(tmp_path / "faces.safetensors")})
    x = torch.rand(1, 3, 8, 8)
    decode, start = explainer.place(x)
    torch.testing.assert_close(decode(start), x)
    whole = principal_components(crops, 6)  # as many as images: each of them lies on it
    place = torch.from_numpy(crops[:1]).movedim(-1, 1) / 255
    torch.testing.assert_close(whole.decode(whole.encode(place), 8), place, atol=1e-5, rtol=0)
    with pytest.raises(UnmaskError, match="another size"):
        explainer.place(torch.rand(1, 3, 16, 16))
    assert isinstance(fitted, Linear)
