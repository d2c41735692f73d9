"""Losses of images and captions beside open_clip's, transformers' and sentence-transformers' on the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from open_clip.loss import ClipLoss, CoCaLoss
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.align.modeling_align import align_loss
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from unmask.nn.cached import cached_backward_of
from unmask.nn.captioning import caption_loss
from unmask.nn.contrastive import cosines, paired_nce
from unmask.objectives.simcse import simcse_loss

Loss = Callable[..., Tensor]
SEEDS = range(3)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(mine: Loss, theirs: Loss, *inputs: Tensor) -> None:
    """Value and gradients to 1e-9, in float64."""
    found = []
    for loss in (mine, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = loss(*leaves)
        value.backward()
        found.append((value.detach(), [x.grad for x in leaves]))
    (value, grads), (want, want_grads) = found
    torch.testing.assert_close(value, want, atol=1e-9, rtol=0)
    for grad, want_grad in zip(grads, want_grads, strict=True):
        torch.testing.assert_close(grad, want_grad, atol=1e-9, rtol=0)
    assert any(g is not None and g.abs().max() > 1e-6 for g in grads)


def unit(z: Tensor) -> Tensor:
    return F.normalize(z, dim=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_clip_is_open_clips_and_transformers(seed: int) -> None:
    x, y, scale = randn(17, 8, seed=seed), randn(17, 8, seed=9), torch.tensor(2.0, dtype=torch.float64)
    same(lambda a, b, s: paired_nce(a, b, s.exp()), lambda a, b, s: ClipLoss()(unit(a), unit(b), s.exp()), x, y, scale)
    same(
        lambda a, b, s: paired_nce(a, b, s.exp()),
        lambda a, b, s: image_text_contrastive_loss(s.exp() * unit(b) @ unit(a).T),
        x, y, scale,
    )  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_align_is_transformers(seed: int) -> None:
    same(
        lambda a, b, t: paired_nce(a, b, 1 / t, label_smoothing=0.1),
        lambda a, b, t: align_loss(unit(b) @ unit(a).T / t),
        randn(17, 8, seed=seed),
        randn(17, 8, seed=9),
        torch.tensor(0.3, dtype=torch.float64),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_coca_is_open_clips(seed: int) -> None:
    ids = torch.randint(1, 11, (5, 7), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(7) < torch.tensor([7, 5, 3, 7, 2])[:, None]
    ids = ids.masked_fill(~mask, 0)

    def mine(a: Tensor, b: Tensor, logits: Tensor) -> Tensor:
        return paired_nce(a, b, 14.0) + 2 * caption_loss(logits, ids, mask)

    def theirs(a: Tensor, b: Tensor, logits: Tensor) -> Tensor:
        contrastive, captioning = CoCaLoss(2.0, 1.0, pad_id=0)(unit(a), unit(b), logits[:, :-1], ids[:, 1:], 14.0)
        return contrastive + captioning  # type: ignore[no-any-return]

    same(mine, theirs, randn(5, 8, seed=seed), randn(5, 8, seed=9), randn(5, 7, 11, seed=seed))


class Embedding(nn.Module):
    """An encoder in the form that sentence-transformers' losses call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4).double()

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        return {**features, "sentence_embedding": self.linear(features["x"])}


@pytest.mark.parametrize("negatives", [False, True])
def test_simcse_and_chunks_are_sentence_transformers(negatives: bool) -> None:
    torch.manual_seed(0)
    encoder = Embedding()
    model = SentenceTransformer(modules=[encoder], device="cpu")
    sides = [randn(9, 6, seed=n) for n in range(3 if negatives else 2)]

    def loss(anchor: Tensor, positive: Tensor, negative: Tensor | None = None) -> Tensor:
        return simcse_loss(anchor, positive, 0.05, negative)

    found = []
    for kind, more in (
        (MultipleNegativesRankingLoss, {}),
        (CachedMultipleNegativesRankingLoss, {"mini_batch_size": 4}),
    ):
        model.zero_grad()
        value = kind(model, scale=20.0, **more)([{"x": side} for side in sides], torch.empty(0))  # type: ignore[operator]
        value.backward()
        found.append((value.detach(), encoder.linear.weight.grad.clone()))  # type: ignore[union-attr]
    model.zero_grad()
    value = cached_backward_of([(encoder.linear, side.split(4)) for side in sides], loss, "cpu")
    for want, gradient in found:
        torch.testing.assert_close(value, want, atol=1e-9, rtol=0)
        torch.testing.assert_close(encoder.linear.weight.grad, gradient, atol=1e-9, rtol=0)
    assert cosines(*[encoder.linear(s) for s in sides[:2]]).shape == (9, 9)
