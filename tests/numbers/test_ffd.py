"""FFD's attention: its loss from labels by hand, and that it weighs what follows."""

from __future__ import annotations

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors import ffd


def test_weak_supervision_by_hand() -> None:
    # Largest values 0.4 (real), 0.4 and 1 (forged): 0.4, |0.4 - 0.75| = 0.35, 0.25; their mean is 1 / 3.
    attention = torch.zeros(3, 1, 2, 2)
    attention[:, 0, 1, 0] = torch.tensor([0.4, 0.4, 1.0])
    assert ffd.weak(attention, torch.tensor([0, 1, 1])).item() == pytest.approx(1 / 3)


def test_attention_weighs_what_follows() -> None:
    torch.manual_seed(0)
    detector = ffd.FFD("tiny-xception", 32).eval()
    image = torch.rand(2, 3, 32, 32)
    maps = detector.body.run(detector.body.normalised(image), until="blocks.0")
    attention = detector.attention(image)
    assert attention.shape == (2, 1, *maps.shape[2:])
    want = detector.body.run(maps * attention, "blocks.0").mean((2, 3))
    torch.testing.assert_close(detector(image).features, want)
    torch.nn.init.constant_(detector.attend[1].weight, 0)  # sigmoid(0): half everywhere
    torch.testing.assert_close(detector.attention(image), torch.full_like(attention, 0.5))


def test_terms() -> None:
    batch = Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    detector = ffd.FFD("tiny-xception", 32, map_weight=0.5).eval()
    terms = detector.loss(batch)
    torch.testing.assert_close(terms["map"], 0.5 * ffd.weak(detector.attention(batch.image), batch.label))
    assert set(ffd.FFD("tiny-xception", 32, "nothing").loss(batch)) == {"cls"}
