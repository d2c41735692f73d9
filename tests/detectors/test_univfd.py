"""A line through frozen features: nothing else learns, and the encoder comes from a file."""

from __future__ import annotations

from pathlib import Path

import torch

from unmask.detectors.univfd import UnivFD
from unmask.nn.backbones import Encoder, save


def test_only_the_line_learns() -> None:
    with torch.device("meta"):
        detector = UnivFD()
    assert [n for n, p in detector.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert sum(p.numel() for p in detector.parameters() if p.requires_grad) == 2 * 1024 + 2
    assert detector.input.margin == 0  # whole images


def test_it_is_that_line_of_the_encoders_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder("tiny-dinov2")
    save(encoder, tmp_path / "encoder.safetensors")
    detector = UnivFD("tiny-dinov2").eval()
    detector.load_pretrained(tmp_path / "encoder.safetensors")
    image = torch.rand(2, 3, 56, 56)
    want = encoder.eval()(image) @ detector.head.weight.T + detector.head.bias
    torch.testing.assert_close(detector(image).logits, want)
    assert not any(p.requires_grad for p in detector.encoder.parameters())
