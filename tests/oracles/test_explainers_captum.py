"""Grad-CAM, integrated gradients and occlusion against captum and pytorch-grad-cam, run in the same test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
captum = pytest.importorskip("captum.attr", reason="captum is an oracle of the extra `dev`")

from torch import Tensor  # noqa: E402

import unmask  # noqa: E402
from unmask.base.predict import Differentiable, to_tensor  # noqa: E402
from unmask.explainers.attention_rollout import AttentionRollout, Attentions, attention_rollout  # noqa: E402
from unmask.explainers.grad_cam import GradCAM  # noqa: E402
from unmask.explainers.integrated_gradients import integrated_gradients  # noqa: E402
from unmask.explainers.occlusion import GREY, occlusion  # noqa: E402
from unmask.types import Pixels  # noqa: E402

SIDE = 64
LAYER = "body.layers"


@pytest.fixture(scope="module")
def detector() -> Differentiable:
    torch.manual_seed(0)
    return Differentiable(unmask.create("detector", "mobilenet", {"size": SIDE}))


def crop(seed: int = 0, side: int = SIDE) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def log_odds(model: Differentiable) -> Callable[[Tensor], Tensor]:
    return lambda image: model.log_odds(image)[:, None]


@pytest.mark.parametrize("towards_fake", [True, False])
def test_grad_cam_is_captums(detector: Differentiable, towards_fake: bool) -> None:
    sign = 1 if towards_fake else -1
    layer = detector.detector.get_submodule(LAYER)
    theirs = captum.LayerGradCam(lambda x: sign * detector.log_odds(x)[:, None], layer)
    expected = theirs.attribute(to_tensor(crop()[None]), target=0, relu_attributions=True)[0, 0].detach().numpy()
    found = GradCAM(layer=LAYER)(detector, crop(), towards_fake=towards_fake)
    assert found.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.max())
    np.testing.assert_array_equal(GradCAM()(detector, crop(), towards_fake=towards_fake), found)  # the layer by itself


def test_grad_cam_is_pytorch_grad_cams(detector: Differentiable) -> None:
    library = pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam is no extra: it brings another OpenCV")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = detector.detector

        def forward(self, x: Tensor) -> Tensor:
            return detector.log_odds(x)[:, None]

    net = Net()
    with library.GradCAM(net, [net.inner.get_submodule(LAYER)]) as cam:
        expected = cam(to_tensor(crop()[None]), targets=[lambda output: output[0]])[0]
    import cv2

    def scaled(heat: np.ndarray) -> np.ndarray:
        return (heat - heat.min()) / (1e-7 + (heat - heat.min()).max())

    small = scaled(GradCAM(layer=LAYER)(detector, crop()))
    # The library scales each layer's map, and once more the mean of the layers.
    np.testing.assert_allclose(scaled(cv2.resize(small, (SIDE, SIDE))), expected, atol=1e-5)


@pytest.mark.parametrize("steps", [5, 12])
def test_integrated_gradients_are_captums(detector: Differentiable, steps: int) -> None:
    image, baseline = (to_tensor(crop(seed)[None]).double() for seed in (0, 1))
    detector.detector.double()
    try:
        theirs = captum.IntegratedGradients(log_odds(detector))
        expected = theirs.attribute(image, baseline, target=0, n_steps=steps, method="gausslegendre")[0]
        found = integrated_gradients(detector.log_odds, image, baseline, steps)
    finally:
        detector.detector.float()
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), atol=1e-5 * float(expected.abs().max()))


def test_occlusion_is_captums(detector: Differentiable) -> None:
    grid, cell = 8, SIDE // 8
    theirs = captum.Occlusion(log_odds(detector))
    expected = theirs.attribute(
        to_tensor(crop()[None]), (3, cell, cell), baselines=GREY / 255, target=0, strides=(3, cell, cell)
    )
    with torch.inference_mode():
        found = occlusion(crop(), detector, grid=grid, overlap=1)
    np.testing.assert_allclose(found, expected[0, 0, ::cell, ::cell].detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("backbone", ["tiny-vit", "tiny-dinov3", "tiny-fsfm"])
def test_every_kind_of_transformer_is_recorded(backbone: str) -> None:
    """tiny-vit is transformers' CLIP, tiny-dinov3 has register tokens, tiny-fsfm is timm's."""
    torch.manual_seed(0)
    model = Differentiable(unmask.create("detector", "univfd", {"backbone": backbone}))
    side = model.detector.input.size
    found = AttentionRollout()(model, crop(3, side))
    assert found.shape[0] == found.shape[1] > 1
    assert 0 < found.sum() < 1  # the rest of the row is the class token's own


def test_rollout_of_recorded_weights_is_that_of_transformers() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=32, patch_size=8)
    network = CLIPVisionModel(config).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode(), Attentions() as seen:
        network(image)
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        theirs = [a[0].mean(0) for a in network(image, output_attentions=True).attentions]
    torch.testing.assert_close(attention_rollout(seen.weights), attention_rollout(theirs))
