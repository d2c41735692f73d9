"""What every detector promises, whichever it is: a new file in `unmask.detectors` is tested without a line here.

Methods too large for a test name a small version of themselves in their card (`small`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector
from unmask.base.predict import predict, to_tensor
from unmask.bundles import Scorer, read, write
from unmask.bundles.distance import fit_mahalanobis, save
from unmask.exporting.onnx import write_onnx
from unmask.registry import FAMILIES
from unmask.tasks.recipe import Recipe
from unmask.train.engine import Engine
from unmask.types import Card, UnmaskError

pytestmark = pytest.mark.parametrize("name", FAMILIES["detector"].names())


def create(name: str) -> Detector:
    torch.manual_seed(0)
    detector: Detector = FAMILIES["detector"].create(name, FAMILIES["detector"].card(name).small)
    return detector


def pictures(detector: Detector, n: int = 8) -> Tensor:
    side = detector.input.size
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def trained(detector: Detector, image: Tensor, label: Tensor, steps: int) -> list[float]:
    """By the method's own step. Returns: the loss after each."""
    recipe = Recipe.model_validate(
        {"name": "eight", "method": "any", "length": f"{steps} steps", "optimizer": {"lr": 2e-3}}
    )
    engine = Engine(detector, recipe, Accelerator(cpu=True))
    coarse = F.avg_pool2d(image, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    batch = Batch(
        image,
        label,
        group=label,
        pair=torch.full_like(label, -1),
        method=label,
        index=torch.arange(len(label)),
        views=torch.stack([coarse, (coarse + image) / 2], 1),  # as a recipe's `views` would give them
    )
    return [sum(float(v) for v in engine.learn([batch], n, 2e-3).values()) for n in range(steps)]


def test_it_learns_eight_pictures(name: str) -> None:
    detector = create(name)
    label = torch.arange(8) % len(detector.classes)
    coarse = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.3 * label.view(8, 1, 1, 1)
    image = F.interpolate(coarse, size=detector.input.size, mode="bilinear").clamp(0, 1)
    losses = trained(detector, image, label, 12)
    assert losses[-1] < losses[0]
    for module in detector.modules():  # what counts is the answer in use, with the statistics of what it learnt
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        detector.train()(image)
    assert (detector.eval()(image).logits.argmax(1) == label).all()


def test_every_weight_that_trains_gets_a_gradient_and_no_other(name: str) -> None:
    detector = create(name)
    before = {k: v.clone() for k, v in detector.named_parameters()}
    trained(detector, pictures(detector), torch.arange(8) % len(detector.classes), 2)
    moved = {k for k, v in detector.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {k for k, v in detector.named_parameters() if v.requires_grad}


def test_a_picture_is_judged_without_regard_to_its_neighbours(name: str) -> None:
    detector = create(name).eval()
    image = pictures(detector)
    with torch.inference_mode():
        together, alone = detector(image), [detector(i) for i in image.split(1)]
    torch.testing.assert_close(torch.cat([o.logits for o in alone]), together.logits, atol=1e-4, rtol=1e-4)
    assert together.logits.shape == (8, len(detector.classes))
    assert together.features.shape[0] == 8
    assert together.features.ndim == 2


def test_it_is_deterministic(name: str) -> None:
    one, other = create(name).eval(), create(name).eval()
    image = pictures(one)
    with torch.inference_mode():
        assert torch.equal(one(image).logits, other(image).logits)
        assert torch.equal(one(image).logits, one(image).logits)


@pytest.mark.parametrize("shape", [(7, 13), (1, 1), (300, 211)])
def test_odd_sizes_are_refused_or_handled(name: str, shape: tuple[int, int]) -> None:
    detector = create(name).eval()
    image = torch.rand(2, 3, *shape)
    try:
        with torch.inference_mode():
            logits = detector(image).logits
    except (UnmaskError, ValueError, RuntimeError, AssertionError):
        return  # said, not guessed
    assert logits.shape == (2, len(detector.classes))
    assert torch.isfinite(logits).all()


def test_a_bundle_of_it_answers_as_it_does(name: str, tmp_path: Path) -> None:
    """Saved and loaded, in torch and in ONNX: the same decisions on the same crops."""
    detector = create(name)
    trained(detector, pictures(detector, 4), torch.arange(4) % len(detector.classes), 1)  # statistics are no longer 0
    crops = np.random.default_rng(0).integers(0, 256, (6, detector.input.size, detector.input.size, 3), np.uint8)
    image, features = to_tensor(crops), predict(detector, crops).features
    spread = np.abs(features).mean() * np.random.default_rng(1).normal(size=(100, features.shape[1]))
    exported = fit_mahalanobis(detector, (features.mean(0) + spread).astype(np.float32), np.arange(100) % 2).eval()
    with torch.inference_mode():
        want, distance = (t.numpy() for t in exported(image))
    files = {n: tmp_path / n for n in ("model.onnx", "model.safetensors")}
    write_onnx(exported, files["model.onnx"], image[:2])
    save(exported, str(files["model.safetensors"]))
    options = FAMILIES["detector"].card(name).small
    card = Card(
        name="c", version="0", summary="", method=name, options=options, input=detector.input, licence="", files={}
    )
    write(tmp_path / "box", card.model_copy(update={"classes": detector.classes}), files)
    for runtime in ("onnx", "torch"):
        reading = Scorer(read(tmp_path / "box"), runtime).read(crops)
        np.testing.assert_allclose(reading.logits, want, atol=1e-3, rtol=1e-3)
        assert (reading.logits.argmax(1) == want.argmax(1)).all()
        assert reading.features_distance is not None
        np.testing.assert_allclose(reading.features_distance, distance, rtol=0.05)
