"""Detectors that learn from blends: Face X-ray's seam, PCL's consistency, FWA's pyramid, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import facexray, fwa, pcl
from unmask.generators import face_xray, i2g
from unmask.nn.multiscale import MultiScale
from unmask.types import UnmaskError


def test_the_seam_by_hand() -> None:
    # 4 0.5 0.5 = 1 where both have half, 4 0.1 0.9 = 0.36, and nothing where one image has all.
    mask = torch.tensor([[[0.0, 0.1], [0.5, 1.0]]])
    torch.testing.assert_close(facexray.boundary(mask), torch.tensor([[[0.0, 0.36], [1.0, 0.0]]]))
    assert np.allclose(facexray.boundary(mask).numpy(), face_xray.boundary(mask.numpy()))


def test_the_drawing_is_cross_entropy_over_known_pixels() -> None:
    # Logit 0 draws 0.5: log 2 whatever the target; logit ln 3 draws 0.75, target 1: -ln 0.75 = 0.28768.
    logit = torch.tensor([[[0.0, float(np.log(3))], [5.0, 5.0]]])
    target = torch.tensor([[[0.36, 1.0], [float("nan"), float("nan")]]])
    want = (np.log(2) - np.log(0.75)) / 2
    assert facexray.drawing_loss(logit, target).item() == pytest.approx(want, rel=1e-5)
    assert facexray.drawing_loss(logit, torch.full_like(target, float("nan"))).item() == 0


def test_xray_terms_and_what_the_classifier_reads() -> None:
    torch.manual_seed(0)
    detector = facexray.FaceXray("tiny-resnet", 32, weight=10.0).eval()
    image, label = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    mask = torch.zeros(2, 32, 32)
    mask[1, 8:16] = 0.5
    terms = detector.loss(Batch(image, label, mask=mask))
    drawn = detector.xray(image)
    assert drawn.shape == (2, 32, 32)
    want = F.binary_cross_entropy(drawn, facexray.boundary(mask))
    torch.testing.assert_close(terms["xray"], 10 * want, rtol=1e-4, atol=1e-5)
    # More seam, more fake: the head begins so.
    logits = detector.head(torch.tensor([[0.1], [0.9]]))
    assert (logits[1] - logits[0]).tolist() == pytest.approx([-0.8, 0.8])
    with pytest.raises(UnmaskError, match="masks: true"):
        detector.loss(Batch(image, label))


def test_scales_are_brought_to_the_finest() -> None:
    body = MultiScale("tiny-resnet").eval()
    image = torch.rand(1, 3, 64, 64)
    scales = body.scales((image - body.mean) / body.std)
    assert [s.shape[-1] for s in scales] == [16, 8, 4, 2]
    maps = body(image)
    assert maps.shape == (1, body.features, 16, 16)
    torch.testing.assert_close(maps[:, : scales[0].shape[1]], scales[0])


def test_hrnet_keeps_all_its_scales() -> None:
    with torch.device("meta"):
        body = MultiScale("hrnet-w18-small")
        assert body(torch.zeros(1, 3, 64, 64)).shape == (1, 16 + 32 + 64 + 128, 16, 16)


def test_consistency_equals_the_generators() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[:32, :20] = 1
    found = pcl.consistency(torch.from_numpy(mask)[None], 4)[0].numpy()
    np.testing.assert_allclose(found, i2g.consistency(mask, 4), atol=1e-6)
    # Patches of 16 pixels: the second of the first row holds 4 of 16 columns, a share of 0.25.
    assert found[0, 1] == pytest.approx(0.25)
    assert found[1, 2] == pytest.approx(0.75)


def test_the_volume_by_hand() -> None:
    # Two places, two channels: f = (1, 0), (2, 2); g = (3, 1), (0, 1); f g' / sqrt 2.
    f = torch.tensor([[[[1.0, 2.0]], [[0.0, 2.0]]]])
    g = torch.tensor([[[[3.0, 0.0]], [[1.0, 1.0]]]])
    want = torch.tensor([[[3.0, 0.0], [8.0, 2.0]]]) / 2**0.5
    torch.testing.assert_close(pcl.volume(f, g), want)


def test_pairs_of_unknown_patches_teach_nothing() -> None:
    logit, target = torch.zeros(1, 2, 2), torch.tensor([[[1.0, float("nan")], [0.25, 1.0]]])
    assert pcl.consistency_loss(logit, target).item() == pytest.approx(float(np.log(2)))
    torch.manual_seed(0)
    detector = pcl.PCL("tiny-resnet", 64)
    batch = Batch(torch.rand(2, 3, 64, 64), torch.tensor([0, 1]), mask=torch.full((2, 64, 64), float("nan")))
    assert detector.loss(batch)["consistency"].item() == 0
    with pytest.raises(UnmaskError, match="masks: true"):
        detector.loss(Batch(batch.image, batch.label))


@pytest.mark.parametrize("side", [6, 7, 4])
def test_the_pyramid_equals_adaptive_pooling(side: int) -> None:
    maps = torch.randn(2, 5, side, side)
    want = torch.cat([F.adaptive_max_pool2d(maps, n).flatten(1) for n in (1, 2, 6)], 1)
    assert torch.equal(fwa.pyramid_pool(maps, (1, 2, 6)), want)
