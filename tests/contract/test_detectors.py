"""What every detector promises, whichever it is: a new file in `unmask.detectors` is tested without a line here.

Methods too large for a test name a small version of themselves in their card (`small`).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector
from unmask.base.predict import predict, to_tensor
from unmask.bundles import Scorer, read, write
from unmask.bundles.distance import ExportWrapper, fit_mahalanobis, save
from unmask.data.landmarks import aligned
from unmask.exporting.onnx import write_onnx
from unmask.registry import FAMILIES
from unmask.tasks.recipe import Recipe
from unmask.train.engine import Engine
from unmask.types import Card, UnmaskError

OTHER_CLASSES = {"cpl", "dflip", "dlif", "rankstats", "seqfakeformer", "tsom", "tsom_pp"}  # losses of their own


@pytest.fixture(scope="module", params=FAMILIES["detector"].names())
def built(request: pytest.FixtureRequest) -> Detector:
    """Built once for all tests of a method, which work on copies."""
    torch.manual_seed(0)
    detector: Detector = FAMILIES["detector"].create(request.param, FAMILIES["detector"].card(request.param).small)
    return detector


@pytest.fixture
def detector(built: Detector) -> Detector:
    torch.manual_seed(1)
    return deepcopy(built)


def pictures(detector: Detector, n: int = 8) -> Tensor:
    """Images, or the windows of a video detector."""
    side = detector.input.size
    return torch.rand(n, *axes(detector), side, side, generator=torch.Generator().manual_seed(1))


def axes(detector: Detector) -> tuple[int, ...]:
    """Between the batch and the pixels: (3,), or (T, 3)."""
    return (3,) if detector.input.frames == 1 else (detector.input.frames, 3)


def trained(detector: Detector, image: Tensor, label: Tensor, steps: int) -> list[float]:
    """By the method's own step. Returns: the loss after each."""
    recipe = Recipe.model_validate(
        {"name": "eight", "method": "any", "length": f"{steps} steps", "optimizer": {"lr": 2e-3}}
    )
    engine, batch = Engine(detector, recipe, Accelerator(cpu=True)), batch_of(detector, image, label)
    return [sum(float(v) for v in engine.learn([batch], n, 2e-3).values()) for n in range(steps)]


def batch_of(detector: Detector, image: Tensor, label: Tensor) -> Batch:
    coarse = F.avg_pool2d(image.flatten(0, -4), 2).repeat_interleave(2, 2).repeat_interleave(2, 3).view_as(image)
    return Batch(
        image,
        label,
        group=label,
        pair=torch.full_like(label, -1),
        method=label,
        index=torch.arange(len(label)),
        views=torch.stack([coarse, (coarse + image) / 2], 1),  # as a recipe's `views` would give them
        **_asked_for(detector, image, label),
    )


def _asked_for(detector: Detector, image: Tensor, label: Tensor) -> dict[str, Tensor]:
    """What a recipe's `masks` and `points`, and a manifest's identities and data sets, would give."""
    row, side = torch.arange(len(label)), image.shape[-1]
    mask = torch.zeros(len(label), side, side)
    mask[:, side // 4 : side // 2 + side // 4, side // 4 : side // 2] = (label > 0).float().view(-1, 1, 1)
    five = torch.from_numpy(aligned(detector.input)) if detector.input.margin else torch.full((5, 2), float("nan"))
    if detector.input.frames > 1:  # the same in each frame of a window
        mask, five = (x.unsqueeze(-3).expand(*x.shape[:-2], detector.input.frames, *x.shape[-2:]) for x in (mask, five))
    five = five.expand(len(label), *five.shape)
    return {"mask": mask, "points": five, "identity": row // 2 % 2, "domain": row // 2 % 2}


def test_it_learns_eight_pictures(detector: Detector) -> None:
    label = torch.arange(8) % len(detector.classes)
    coarse = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.3 * label.view(8, 1, 1, 1)
    image = F.interpolate(coarse, size=detector.input.size, mode="bilinear").clamp(0, 1)
    if detector.input.frames > 1:  # each frame a little brighter than the one before
        steps = torch.linspace(0.8, 1, detector.input.frames).view(1, -1, 1, 1, 1)
        image = image[:, None] * steps
    losses = trained(detector, image, label, 12)
    assert losses[-1] < losses[0]
    for module in detector.modules():  # what counts is the answer in use, with the statistics of what it learnt
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        detector.train()(image)
    assert (detector.eval()(image).logits.argmax(1) == label).all()


def test_every_weight_that_trains_gets_a_gradient_and_no_other(detector: Detector) -> None:
    before = {k: v.clone() for k, v in detector.named_parameters()}
    trained(detector, pictures(detector), torch.arange(8) % len(detector.classes), 2)
    moved = {k for k, v in detector.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {k for k, v in detector.named_parameters() if v.requires_grad}


def test_hard_rows_can_count_more(detector: Detector, request: pytest.FixtureRequest) -> None:
    """Every loss of real and fake asks the batch how much each image counts, so that difficulty boosting works."""
    if request.node.callspec.params["built"] in OTHER_CLASSES:
        return
    asked: list[torch.Size] = []

    def weigh(logits: Tensor) -> Tensor:
        asked.append(logits.shape)
        return torch.full((8,), 2.0)

    batch = batch_of(detector.train(), pictures(detector), torch.arange(8) % 2)
    detector.loss(replace(batch, weigh=weigh))
    assert asked
    assert all(len(shape) == 2 and shape[0] % 8 == 0 and shape[1] == 2 for shape in asked)


def test_a_picture_is_judged_without_regard_to_its_neighbours_and_each_time_alike(detector: Detector) -> None:
    detector.eval()
    image = pictures(detector)
    with torch.inference_mode():
        together, alone = detector(image), [detector(i) for i in image.split(1)]
        assert torch.equal(detector(image).logits, together.logits)
    torch.testing.assert_close(torch.cat([o.logits for o in alone]), together.logits, atol=1e-4, rtol=1e-4)
    assert together.logits.shape == (8, len(detector.classes))
    assert together.features.shape[0] == 8
    assert together.features.ndim == 2


def test_it_is_built_alike_from_a_seed(detector: Detector, built: Detector, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["built"]
    torch.manual_seed(0)
    other = FAMILIES["detector"].create(name, FAMILIES["detector"].card(name).small)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in built.state_dict().items())


@pytest.mark.parametrize("shape", [(7, 13), (1, 1), (300, 211)])
def test_odd_sizes_are_refused_or_handled(built: Detector, shape: tuple[int, int]) -> None:
    detector = built.eval()
    image = torch.rand(2, *axes(detector), *shape)
    try:
        with torch.inference_mode():
            logits = detector(image).logits
    except UnmaskError:  # a plain error of torch would be a failure
        return
    assert logits.shape == (2, len(detector.classes))
    assert torch.isfinite(logits).all()


def test_a_bundle_of_it_answers_as_it_does(detector: Detector, tmp_path: Path) -> None:
    """Saved and loaded in torch: the same decisions on the same crops."""
    exported, crops = prepared(detector)
    save(exported, str(tmp_path / "model.safetensors"))
    check(exported, crops, tmp_path / "model.safetensors", "torch")


@pytest.mark.slow
def test_its_onnx_answers_as_it_does(detector: Detector, tmp_path: Path) -> None:
    exported, crops = prepared(detector)
    write_onnx(exported, tmp_path / "model.onnx", to_tensor(crops)[:2])
    check(exported, crops, tmp_path / "model.onnx", "onnx")


def prepared(detector: Detector) -> tuple[ExportWrapper, NDArray[np.uint8]]:
    """With statistics that are no longer 0 and a distance from made-up training features; and six crops."""
    trained(detector, pictures(detector, 4), torch.arange(4) % len(detector.classes), 1)
    shape = (6, *axes(detector)[:-1], detector.input.size, detector.input.size, 3)
    crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    features = predict(detector, crops).features
    spread = np.abs(features).mean() * np.random.default_rng(1).normal(size=(100, features.shape[1]))
    exported = fit_mahalanobis(detector, (features.mean(0) + spread).astype(np.float32), np.arange(100) % 2)
    return exported.eval(), crops


def check(exported: ExportWrapper, crops: NDArray[np.uint8], file: Path, runtime: str) -> None:
    with torch.inference_mode():
        want, distance = (t.numpy() for t in exported(to_tensor(crops)))
    detector = exported.detector
    card = Card(
        name="c",
        version="0",
        summary="",
        method=detector.__module__.rpartition(".")[2],
        options=FAMILIES["detector"].card(detector.__module__.rpartition(".")[2]).small,
        classes=detector.classes,
        input=detector.input,
        licence="",
        files={},
    )
    write(file.parent / "box", card, {file.name: file})
    reading = Scorer(read(file.parent / "box"), runtime).read(crops)
    np.testing.assert_allclose(reading.logits, want, atol=1e-3, rtol=1e-3)
    assert (reading.logits.argmax(1) == want.argmax(1)).all()
    assert reading.features_distance is not None
    np.testing.assert_allclose(reading.features_distance, distance, rtol=0.05)
