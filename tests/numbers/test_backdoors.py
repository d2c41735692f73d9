"""Triggers and the traces of poisoning, by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unmask.errors import UnmaskError
from unmask.imageops.triggers import TRIGGERS, badnets, blended, ctrl, sinusoid
from unmask.measure.backdoor import activation_clusters, anomaly_index, spectral_signature

GREY = np.full((64, 64, 3), 128, np.uint8)


def test_badnets_is_a_checkerboard_in_the_corner() -> None:
    # 16 x 64 / 224 = 4.6 pixels, 4 of them: one pixel a field, one pixel from the edge.
    made = badnets(GREY)
    assert made[59:63, 59:63, 0].tolist() == [[0, 255, 0, 255], [255, 0, 255, 0]] * 2
    assert (made != GREY).any(2).sum() == 16


def test_blended_and_sinusoid() -> None:
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape)
    assert blended(GREY, 0.2)[0, 0, 0] == round(0.8 * 128 + 0.2 * noise[0, 0, 0])
    # Six periods in 64 columns: column 8 is 0.75 of a period, sin = -1: 128 - 51 = 77.
    assert sinusoid(GREY, 0.2)[:, 8].min() == sinusoid(GREY, 0.2)[:, 8].max() == 77


def test_ctrl_adds_two_coefficients_of_chroma() -> None:
    made = cv2.cvtColor(ctrl(GREY, 100.0), cv2.COLOR_RGB2YUV).astype(np.float32)
    before = cv2.cvtColor(GREY, cv2.COLOR_RGB2YUV).astype(np.float32)
    for channel, expected in ((0, 0.0), (1, 100.0)):
        gap = cv2.dct(np.ascontiguousarray((made - before)[:32, 32:, channel]))
        assert gap[15, 15] == pytest.approx(expected, abs=12)  # 8 bits and RGB in between
    assert np.abs(made - before)[..., 0].max() <= 2


@pytest.mark.parametrize("name", sorted(TRIGGERS))
def test_a_trigger_is_always_the_same(name: str) -> None:
    put, strength = TRIGGERS[name]
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    kept = image.copy()
    np.testing.assert_array_equal(put(image, strength), put(image, strength))
    np.testing.assert_array_equal(image, kept)
    assert (put(image, strength) != image).any()


def test_spectral_signature_by_hand() -> None:
    # One class along the first axis: -1, -1, -1, 3 about a mean of 0; squares 1, 1, 1, 9.
    features = [[-1, 0.1], [-1, -0.1], [-1, 0], [3, 0]]
    np.testing.assert_allclose(spectral_signature(features, [0, 0, 0, 0]), [1, 1, 1, 9], atol=0.02)


def test_a_class_of_two_parts_is_found_and_a_round_one_is_not() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    whole, parts = rng.normal(size=(40, 5)), rng.normal(size=(40, 5))
    parts[:6, 0] += 12
    smaller, compact = activation_clusters(np.r_[whole, parts], np.repeat([0, 1], 40))
    assert smaller[40:].tolist() == [True] * 6 + [False] * 34
    assert compact[40] > 0.5 > compact[0]


def test_the_outlier_index() -> None:
    # Median 10; distances 0, 1, 1, 2, 8, median of those 1: (10 - 2) / 1.4826 = 5.396.
    found = anomaly_index([10, 11, 9, 12, 2])
    np.testing.assert_allclose(found, [0, 0, 1 / 1.4826, 0, 8 / 1.4826])
    with pytest.raises(UnmaskError, match="three"):
        anomaly_index([1, 2])
