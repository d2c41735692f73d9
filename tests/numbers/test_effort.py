"""Effort's split and its two terms, against plain matrices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors.effort import Effort, _Split
from unmask.nn.backbones import Encoder, save
from unmask.types import UnmaskError


def diagonal() -> _Split:
    linear = torch.nn.Linear(2, 2)
    linear.weight.data = torch.diag(torch.tensor([3.0, 1.0]))
    return _Split(linear, 1)


def test_terms_by_hand() -> None:
    # W = diag(3, 1): the direction e1 with 3 is frozen, e2 with 1 trains.
    split = diagonal()
    assert split.skew().item() == pytest.approx(0, abs=1e-6)
    assert split.growth().item() == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        split.u.copy_(torch.tensor([[0.5], [1.0]]))
        split.v.copy_(torch.tensor([[0.0, 1.0]]))
    # u = (0.5, 1): u'u - 1 = 0.25, squared 0.0625; e1'u = 0.5, squared 0.25, and it stands twice in the Gram matrix.
    assert split.skew().item() == pytest.approx(2 * 0.25 + 0.0625)
    # W^ = ((3, 0.5), (0, 1)): 9 + 0.25 + 1 against 9 + 1.
    assert split.growth().item() == pytest.approx(0.25, abs=1e-5)


def test_skew_is_that_of_the_whole_gram_matrices() -> None:
    torch.manual_seed(0)
    split = _Split(torch.nn.Linear(6, 5), 2)
    with torch.no_grad():
        split.u.add_(torch.randn_like(split.u) * 0.1)
        split.v.add_(torch.randn_like(split.v) * 0.1)
    u, v = torch.cat([split.left, split.u], 1), torch.cat([split.right, split.v])
    want = (u.T @ u - torch.eye(5)).square().sum() + (v @ v.T - torch.eye(5)).square().sum()
    torch.testing.assert_close(split.skew(), want)


@pytest.mark.parametrize(("name", "maps"), [("tiny-pe", 24), ("tiny-dinov3", 8)])
def test_attention_is_split_in_every_encoder(name: str, maps: int) -> None:
    """Query, key, value and output in one map each, or the first three in one; some of them without a bias."""
    torch.manual_seed(0)
    detector = Effort(name).eval()
    assert sum(isinstance(m, _Split) for m in detector.encoder.modules()) == maps
    assert torch.isfinite(detector(torch.rand(1, 3, 64, 64)).logits).all()


def test_it_starts_as_the_encoder_and_only_the_last_directions_learn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder("tiny-dinov2").eval()
    save(encoder, tmp_path / "encoder.safetensors")
    detector = Effort("tiny-dinov2", rank=3).eval()
    detector.load_pretrained(tmp_path / "encoder.safetensors")
    image = torch.rand(2, 3, 56, 56)
    torch.testing.assert_close(detector(image).features, encoder(image), atol=1e-5, rtol=1e-4)
    trained = [n for n, p in detector.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 4 * 3 + 2  # two blocks, four maps each, (u, s, v), and the head
    terms = detector.loss(Batch(image, torch.tensor([0, 1])))
    assert set(terms) == {"cls", "orthogonal", "size"}
    assert terms["orthogonal"].item() == pytest.approx(0, abs=1e-5)
    assert terms["size"].item() == pytest.approx(0, abs=1e-3)


def test_a_rank_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UnmaskError, match="rank 64 does not split a map of 64 directions"):
        Effort("tiny-dinov2", rank=64)
